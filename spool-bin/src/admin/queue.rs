//! Questions about the queue, and the number of jobs.

use super::{State, error};
use crate::selector::Selector;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Query};
use actix_web::{HttpResponse, Responder};
use bytes::{BufMut, Bytes, BytesMut};
use spool_actors::{GetJobs, ListMessages, SetMaxConcurrentJobs};
use spool_core::{Clock, MessageSummary, SpoolError, SystemClock};

/// Bytes of a listing that are built at once.
const CHUNK: usize = 32 * 1024;

pub(super) async fn health() -> impl Responder {
    HttpResponse::Ok().body("ok\n")
}

/// Ready: it would take mail now.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    match state.relay.gate.admit(0) {
        Ok(()) => HttpResponse::Ok().body("ready\n"),
        Err(why) => HttpResponse::ServiceUnavailable().body(format!("{why}\n")),
    }
}

fn selector(query: &[(String, String)]) -> Result<Selector, HttpResponse> {
    let mut selector = Selector::default();
    for (name, value) in query {
        selector
            .add(name, value)
            .map_err(|why| error(StatusCode::BAD_REQUEST, &why))?;
    }
    Ok(selector)
}

fn refused(why: &SpoolError) -> HttpResponse {
    error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
}

async fn select(
    state: &State,
    selector: &Selector,
    envelopes: bool,
) -> Result<Vec<MessageSummary>, HttpResponse> {
    let envelopes = envelopes || selector.needs_envelope();
    let listed = state
        .relay
        .spool
        .send(ListMessages {
            envelopes,
            ..ListMessages::default()
        })
        .await;
    let mut messages = listed
        .unwrap_or(Err(SpoolError::Killed))
        .map_err(|why| refused(&why))?;
    let now = SystemClock.now();
    messages.retain(|message| selector.matches(message, now));
    messages.sort_unstable_by_key(|message| (message.spooled_at, message.id));
    Ok(messages)
}

pub(super) async fn status(state: Data<State>, query: Query<Vec<(String, String)>>) -> HttpResponse {
    let selected = match selector(&query) {
        Ok(selector) => select(&state, &selector, true).await,
        Err(refusal) => Err(refusal),
    };
    let mut messages = match selected {
        Ok(messages) => messages.into_iter(),
        Err(refusal) => return refusal,
    };
    // Line by line as it is read: the text of a million messages is never in memory at once.
    let chunks = std::iter::from_fn(move || {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while chunk.len() < CHUNK {
            let Some(message) = messages.next() else { break };
            match serde_json::to_vec(&message) {
                Ok(line) => chunk.put_slice(&line),
                Err(error) => return Some(Err(actix_web::Error::from(error))),
            }
            chunk.put_u8(b'\n');
        }
        (!chunk.is_empty()).then(|| Ok::<Bytes, actix_web::Error>(chunk.freeze()))
    });
    HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .streaming(futures_util::stream::iter(chunks))
}

pub(super) async fn count(state: Data<State>, query: Query<Vec<(String, String)>>) -> HttpResponse {
    let selector = match selector(&query) {
        Ok(selector) => selector,
        Err(refusal) => return refusal,
    };
    match select(&state, &selector, false).await {
        Ok(messages) => HttpResponse::Ok().json(serde_json::json!({ "count": messages.len() })),
        Err(refusal) => refusal,
    }
}

pub(super) async fn jobs(state: Data<State>) -> HttpResponse {
    match state
        .relay
        .spool
        .send(GetJobs)
        .await
        .unwrap_or(Err(SpoolError::Killed))
    {
        Ok(jobs) => HttpResponse::Ok().json(jobs),
        Err(why) => refused(&why),
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SetJobs {
    max: usize,
}

pub(super) async fn set_jobs(state: Data<State>, set: Json<SetJobs>) -> HttpResponse {
    match state
        .relay
        .spool
        .send(SetMaxConcurrentJobs(set.max))
        .await
        .unwrap_or(Err(SpoolError::Killed))
    {
        Ok(()) => jobs(state).await,
        Err(why) => refused(&why),
    }
}
