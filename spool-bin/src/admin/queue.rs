//! Questions about the whole queue, the ways out of it, and the number of jobs.
//!
//! A listing is written page by page as it is read: neither its messages nor its text are ever in memory at once.

use super::answer::{charge_part, in_memory};
use super::caller::Caller;
use super::operate::log;
use super::read::Body;
use super::select::Pages;
use super::{State, busy, error, refused};
use crate::operation::Report;
use crate::selector::Selector;
use crate::target::LOADING;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER};
use actix_web::web::{Data, Path, Query};
use bytes::Bytes;
use serde::Serialize;
use spool_actors::{
    Destinations, Ending, GetJobs, GetStats, ResetDestination, SetMaxConcurrentJobs, WhenLoaded,
};
use spool_core::{NextHop, SpoolError, harmless};
use spool_smtp::client::PoolSnapshot;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

static LOADING_HEADER: HeaderName = HeaderName::from_static(LOADING);

/// Healthy: it works, or was asked to end. One that has ended by itself is to be started again.
pub(super) async fn health(state: Data<State>) -> HttpResponse {
    match state.relay.gate.ending() {
        None | Some(Ending::Killed) => HttpResponse::Ok().body("ok\n"),
        Some(ending) => HttpResponse::ServiceUnavailable().body(format!("{ending}\n")),
    }
}

/// Ready: it would take mail now, and all that was there at the start is in the hands of the queue.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    if state.relay.stopping.is_set() {
        return HttpResponse::ServiceUnavailable().body("the service is shutting down\n");
    }
    match (state.relay.gate.admit(0), state.relay.gate.loading()) {
        (Err(why), _) => HttpResponse::ServiceUnavailable().body(format!("{why}\n")),
        (Ok(()), Some(progress)) => HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, "1"))
            .insert_header((LOADING, progress.percent().to_string()))
            .body(format!(
                "loading what was there at the start: {} % read; mail is taken meanwhile\n",
                progress.percent()
            )),
        (Ok(()), None) => match state.relay.gate.damaged() {
            0 => HttpResponse::Ok().body("ready\n"),
            places => HttpResponse::Ok().body(format!(
                "ready, but {places} places on disk are damaged: see the log\n"
            )),
        },
    }
}

/// An answer about all messages is none before all of them are known.
async fn all_known(state: &State) -> Result<(), HttpResponse> {
    // Of one that has ended no more will come: what is asked below says why.
    if let Some(progress) = state.relay.gate.loading()
        && state.relay.gate.ending().is_none()
    {
        let mut loading = busy("loading what was there at the start; try again soon");
        if let Ok(percent) = progress.percent().to_string().parse() {
            loading.headers_mut().insert(LOADING_HEADER.clone(), percent);
        }
        return Err(loading);
    }
    // It may have failed.
    let loaded = state.relay.spool.send(WhenLoaded).await;
    match loaded.unwrap_or(Err(SpoolError::Killed)) {
        Ok(_) => Ok(()),
        Err(why) => Err(refused(&why)),
    }
}

type Conditions = Query<Vec<(String, String)>>;

fn selector(query: &Conditions) -> Result<Selector, HttpResponse> {
    let conditions = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Selector::read(conditions).map_err(|why| error(StatusCode::BAD_REQUEST, &why))
}

fn pages(state: &State, selector: Selector, envelopes: bool) -> Pages {
    let shelf = selector.shelf();
    Pages::new(state.relay.spool.clone(), selector, shelf, envelopes)
}

pub(super) async fn status(state: Data<State>, query: Conditions) -> HttpResponse {
    let selector = match selector(&query) {
        Ok(selector) => selector,
        Err(refusal) => return refusal,
    };
    if let Err(loading) = all_known(&state).await {
        return loading;
    }
    let mut pages = pages(&state, selector, true);
    // The first page before the answer begins: what fails at once is said with its status.
    let first = match pages.next().await {
        Ok(first) => first,
        Err(why) => return refused(&why),
    };
    // What the page before was charged is given back when the next one is asked for: it has been handed over by then.
    let lines = futures_util::stream::try_unfold((pages, first, None), move |(mut pages, page, held)| {
        let state = state.clone();
        async move {
            drop(held);
            let Some(page) = page else { return Ok(None) };
            let text = lines(&page)?;
            drop(page);
            let held = charge_part(&state, text.len()).await?;
            let next = pages
                .next()
                .await
                .map_err(actix_web::error::ErrorServiceUnavailable)?;
            Ok::<_, actix_web::Error>(Some((text, (pages, next, Some(held)))))
        }
    });
    HttpResponse::Ok().content_type(NDJSON).streaming(lines)
}

pub(super) fn lines<T: Serialize>(page: &[T]) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(page.len() * 256);
    for one in page {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

pub(super) async fn count(state: Data<State>, query: Conditions) -> HttpResponse {
    let selector = match selector(&query) {
        Ok(selector) => selector,
        Err(refusal) => return refusal,
    };
    if let Err(loading) = all_known(&state).await {
        return loading;
    }
    let counted = match selector.is_everything() {
        true => everything(&state).await,
        false => selected(pages(&state, selector, false)).await,
    };
    match counted {
        Ok(count) => HttpResponse::Ok().json(serde_json::json!({ "count": count })),
        Err(why) => refused(&why),
    }
}

async fn everything(state: &State) -> Result<usize, SpoolError> {
    let stats = state.relay.spool.send(GetStats).await;
    Ok(stats.unwrap_or(Err(SpoolError::Killed))?.messages)
}

async fn selected(mut pages: Pages) -> Result<usize, SpoolError> {
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        count += page.len();
    }
    Ok(count)
}

/// How every destination is doing, one a line.
pub(super) async fn destinations(state: Data<State>) -> HttpResponse {
    if let Err(loading) = all_known(&state).await {
        return loading;
    }
    let all = state.relay.spool.send(Destinations).await;
    match all.unwrap_or(Err(SpoolError::Killed)) {
        Ok(all) => match lines(&all) {
            Ok(text) => in_memory(&state, StatusCode::OK, NDJSON, text),
            Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
        },
        Err(why) => refused(&why),
    }
}

/// Forgets what was learned of one of them, named by its next hops in order with commas between them.
pub(super) async fn reset(state: Data<State>, destination: Path<String>) -> HttpResponse {
    let hops: Result<Arc<[NextHop]>, _> = destination.split(',').map(|hop| hop.trim().parse()).collect();
    let Ok(hops) = hops else {
        let text = format!(
            "{}: not HOST:PORT or mx:DOMAIN:PORT, several with commas between them",
            harmless(&destination)
        );
        return error(StatusCode::BAD_REQUEST, &text);
    };
    if let Err(loading) = all_known(&state).await {
        return loading;
    }
    let before = state.relay.spool.send(ResetDestination(hops)).await;
    match before.unwrap_or(Err(SpoolError::Killed)) {
        Ok(Some(before)) => HttpResponse::Ok().json(serde_json::json!({ "reset": before })),
        Ok(None) => error(
            StatusCode::NOT_FOUND,
            &format!(
                "{}: no such destination has mail, and nothing is known of it",
                harmless(&destination)
            ),
        ),
        Err(why) => refused(&why),
    }
}

/// The open sessions with next hops, and what clients of this API did wrong.
#[derive(Debug, Serialize)]
struct Connections {
    #[serde(flatten)]
    sessions: PoolSnapshot,
    http: HttpFaults,
}

/// Counted since the start.
#[derive(Debug, Serialize)]
struct HttpFaults {
    invalid: u64,
    refused: u64,
    broken: u64,
}

pub(super) async fn connections(state: Data<State>) -> HttpResponse {
    let faults = &state.faults;
    let [invalid, refused, broken] =
        [&faults.invalid, &faults.refused, &faults.broken].map(|count| count.load(Ordering::Relaxed));
    let connections = Connections {
        sessions: state.agent.snapshot(),
        http: HttpFaults {
            invalid,
            refused,
            broken,
        },
    };
    match serde_json::to_vec(&connections) {
        Ok(json) => in_memory(&state, StatusCode::OK, JSON, json),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

pub(super) async fn jobs(state: Data<State>) -> HttpResponse {
    let jobs = state.relay.spool.send(GetJobs).await;
    match jobs.unwrap_or(Err(SpoolError::Killed)) {
        Ok(jobs) => HttpResponse::Ok().json(jobs),
        Err(why) => refused(&why),
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SetJobs {
    max: usize,
}

pub(super) async fn set_jobs(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    let set: SetJobs = match body.object() {
        Ok(set) => set,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why),
    };
    let max = set.max;
    let set = state.relay.spool.send(SetMaxConcurrentJobs(max)).await;
    let set = set.unwrap_or(Err(SpoolError::Killed));
    let nothing = Report::default();
    log("jobs", by, format!("max={max}"), set.as_ref().map(|()| &nothing));
    match set {
        Ok(()) => jobs(state).await,
        Err(why) => refused(&why),
    }
}
