//! Listings of the whole queue, its destinations and its connections.
//!
//! A listing is written page by page as it is read: neither all messages nor the whole text are in memory at once.

use super::answer::{NDJSON, charge_part, json, lines, ndjson};
use super::error::{HandlerResult, bad_request, busy_response, error, refused, with_response};
use super::select::Pages;
use super::slots::Failures;
use super::state::State;
use crate::loading::LOADING;
use crate::selector::Selector;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use actix_web::web::{Data, Path, Query};
use actix_web::{Error, HttpResponse};
use serde::Serialize;
use spool_actors::{Destinations, GetStats, ResetDestination, WhenLoaded};
use spool_core::{NextHop, SpoolError, harmless};
use spool_smtp::client::PoolSnapshot;
use std::sync::Arc;

static LOADING_HEADER: HeaderName = HeaderName::from_static(LOADING);

/// Waits until all messages are loaded: an answer about all of them is not given earlier.
async fn all_loaded(state: &State) -> Result<(), Error> {
    // When the service has ended no more will be loaded, and the question below fails with the reason.
    if let Some(progress) = state.relay.gate.loading()
        && state.relay.gate.ending().is_none()
    {
        let mut loading = busy_response("loading the mail of earlier runs; try again soon");
        if let Ok(percent) = progress.percent().to_string().parse() {
            loading.headers_mut().insert(LOADING_HEADER.clone(), percent);
        }
        return Err(with_response(loading));
    }
    // Loading may have failed.
    state.ask(WhenLoaded).await.map(drop).map_err(refused)
}

type Conditions = Query<Vec<(String, String)>>;

fn selector(query: &Conditions) -> Result<Selector, Error> {
    let conditions = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Selector::read(conditions).map_err(bad_request)
}

fn pages(state: &State, selector: Selector, envelopes: bool) -> Pages {
    let archive = selector.archive();
    Pages::new(state, selector, archive, envelopes)
}

pub(super) async fn status(state: Data<State>, query: Conditions) -> HandlerResult {
    let selector = selector(&query)?;
    all_loaded(&state).await?;
    let mut pages = pages(&state, selector, true);
    // The first page is read before the answer begins, so that an early error has its status.
    let first = pages.next().await.map_err(refused)?;
    // The charge of the previous page is released when the next one is asked for: the page has been handed over by then.
    let lines = futures_util::stream::try_unfold((pages, first, None), move |(mut pages, page, held)| {
        let state = state.clone();
        async move {
            drop(held);
            let Some(page) = page else { return Ok(None) };
            let text = lines(&page)?;
            drop(page);
            let held = charge_part(&state, text.len()).await?;
            let next = pages.next().await;
            let next = next.map_err(actix_web::error::ErrorServiceUnavailable)?;
            Ok::<_, Error>(Some((text, (pages, next, Some(held)))))
        }
    });
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(lines))
}

pub(super) async fn count(state: Data<State>, query: Conditions) -> HandlerResult {
    let selector = selector(&query)?;
    all_loaded(&state).await?;
    let counted = match selector.is_everything() {
        true => state.ask(GetStats).await.map(|stats| stats.messages),
        false => selected(pages(&state, selector, false)).await,
    };
    let count = counted.map_err(refused)?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "count": count })))
}

async fn selected(mut pages: Pages) -> Result<usize, SpoolError> {
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        count += page.len();
    }
    Ok(count)
}

/// The state of every destination, one a line.
pub(super) async fn destinations(state: Data<State>) -> HandlerResult {
    all_loaded(&state).await?;
    ndjson(&state, &state.ask(Destinations).await.map_err(refused)?)
}

/// Forgets what was learned of a destination, named by its next hops in order with commas between them.
pub(super) async fn reset(state: Data<State>, destination: Path<String>) -> HandlerResult {
    let hops: Result<Arc<[NextHop]>, _> = destination.split(',').map(|hop| hop.trim().parse()).collect();
    let name = harmless(&destination);
    let wrong = |_| {
        bad_request(format!(
            "{name}: not HOST:PORT or mx:DOMAIN:PORT, several with commas between them"
        ))
    };
    let hops = hops.map_err(wrong)?;
    all_loaded(&state).await?;
    let before = state.ask(ResetDestination(hops)).await.map_err(refused)?;
    let Some(before) = before else {
        let text = format!("{name}: no such destination has mail, and nothing is known of it");
        return Err(error(StatusCode::NOT_FOUND, text));
    };
    Ok(HttpResponse::Ok().json(serde_json::json!({ "reset": before })))
}

/// The open sessions with next hops, and the failures of clients of this API.
#[derive(Debug, Serialize)]
struct ConnectionsReport<'s> {
    #[serde(flatten)]
    sessions: PoolSnapshot,
    http: &'s Failures,
}

pub(super) async fn connections(state: Data<State>) -> HandlerResult {
    let report = ConnectionsReport {
        sessions: state.agent.snapshot(),
        http: &state.slots.failures,
    };
    json(&state, StatusCode::OK, &report)
}
