//! Questions about the whole queue, the ways out of it, and the number of jobs.
//!
//! A listing is written page by page as it is read: neither its messages nor its text are ever in memory at once.

use super::select::Pages;
use super::{State, error, refused};
use crate::selector::Selector;
use crate::target::LOADING;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Query};
use actix_web::{HttpResponse, HttpResponseBuilder, Responder};
use bytes::Bytes;
use serde::Serialize;
use spool_actors::{Destinations, GetJobs, GetStats, SetMaxConcurrentJobs};
use spool_core::SpoolError;

pub(super) async fn health() -> impl Responder {
    HttpResponse::Ok().body("ok\n")
}

/// Ready: it would take mail now.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    match (state.relay.gate.admit(0), state.relay.gate.loading()) {
        (Ok(()), None) => match state.relay.gate.damaged() {
            0 => HttpResponse::Ok().body("ready\n"),
            places => HttpResponse::Ok().body(format!(
                "ready, but {places} places on disk are damaged: see the log\n"
            )),
        },
        (Ok(()), Some(progress)) => {
            let percent = progress.percent();
            HttpResponse::Ok().body(format!("ready, and loading what was there: {percent} % read\n"))
        }
        (Err(why), _) => HttpResponse::ServiceUnavailable().body(format!("{why}\n")),
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
    let mut pages = match selector(&query) {
        Ok(selector) => pages(&state, selector, true),
        Err(refusal) => return refusal,
    };
    // The first page before the answer begins: what fails at once is said with its status.
    let first = match pages.next().await {
        Ok(first) => first,
        Err(why) => return refused(&why),
    };
    let lines = futures_util::stream::try_unfold((pages, first), |(mut pages, page)| async move {
        let Some(page) = page else { return Ok(None) };
        let text = lines(&page)?;
        drop(page);
        let next = pages
            .next()
            .await
            .map_err(actix_web::error::ErrorServiceUnavailable)?;
        Ok::<_, actix_web::Error>(Some((text, (pages, next))))
    });
    answer(&state)
        .content_type("application/x-ndjson")
        .streaming(lines)
}

/// An answer that says, while what was there at the start is still being loaded, that it is not complete.
fn answer(state: &State) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    if let Some(progress) = state.relay.gate.loading() {
        answer.insert_header((LOADING, progress.percent().to_string()));
    }
    answer
}

fn lines<T: Serialize>(page: &[T]) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(page.len() * 256);
    for one in page {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

pub(super) async fn count(state: Data<State>, query: Conditions) -> HttpResponse {
    let counted = match selector(&query) {
        Ok(selector) if selector.is_everything() => everything(&state).await,
        Ok(selector) => selected(pages(&state, selector, false)).await,
        Err(refusal) => return refusal,
    };
    match counted {
        Ok(count) => answer(&state).json(serde_json::json!({ "count": count })),
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
    let all = state.relay.spool.send(Destinations).await;
    match all.unwrap_or(Err(SpoolError::Killed)) {
        Ok(all) => match lines(&all) {
            Ok(text) => answer(&state).content_type("application/x-ndjson").body(text),
            Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
        },
        Err(why) => refused(&why),
    }
}

/// The open sessions.
pub(super) async fn connections(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(state.agent.snapshot())
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
pub(super) struct SetJobs {
    max: usize,
}

pub(super) async fn set_jobs(state: Data<State>, set: Json<SetJobs>) -> HttpResponse {
    let set = state.relay.spool.send(SetMaxConcurrentJobs(set.max)).await;
    match set.unwrap_or(Err(SpoolError::Killed)) {
        Ok(()) => jobs(state).await,
        Err(why) => refused(&why),
    }
}
