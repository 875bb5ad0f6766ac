//! The admin API: HTTP on loopback, by actix-web. It asks the spool and prints; the guard stands before everything.

#![allow(clippy::result_large_err, reason = "the error is the response that is sent")]

mod answer;
mod caller;
mod clients;
mod connection;
mod events;
mod guard;
mod message;
mod messages;
mod operate;
mod queue;
mod read;
mod route;
mod select;
mod server;
#[cfg(test)]
mod tests;
mod token;

use crate::wire::Relay;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::web::{Data, PathConfig, QueryConfig, ServiceConfig, delete, get, post, put};
use read::MaxBody;
use server::{Faults, Places};
use spool_core::{Budget, SpoolError};
use spool_smtp::client::SmtpAgent;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub(crate) use server::{MAX_CONNECTIONS, serve};
pub(crate) use token::Token;

/// Slack for JSON and base64 round the largest message.
const BODY_SLACK: usize = 64 * 1024;
/// Bytes of a request for an operation: a hundred thousand ids.
const MAX_REQUEST: usize = 4 << 20;

/// Where the events are followed.
const EVENTS: &str = "/api/v1/events";

/// What a submission may have, whichever way it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of its message.
    pub(crate) message_size: usize,
    /// Recipients.
    pub(crate) recipients: usize,
}

/// What every handler can reach.
pub(crate) struct State {
    relay: Relay,
    /// Who holds the sessions with next hops.
    agent: Arc<SmtpAgent>,
    limits: Limits,
    /// What bodies of requests and answers are charged to, as mail over SMTP is.
    memory: Budget,
    /// Where the shelves are.
    spool_dir: PathBuf,
    /// Places for those who follow the events.
    followers: Arc<Semaphore>,
    places: Places,
    faults: Faults,
}

impl State {
    pub(crate) fn new(
        relay: Relay,
        agent: Arc<SmtpAgent>,
        limits: Limits,
        memory: Budget,
        spool_dir: PathBuf,
    ) -> Self {
        Self {
            relay,
            agent,
            limits,
            memory,
            spool_dir,
            followers: Arc::new(Semaphore::new(events::MAX_FOLLOWERS)),
            places: Places::new(),
            faults: Faults::default(),
        }
    }
}

fn routes(config: &mut ServiceConfig, state: &Data<State>) {
    let bad = |text: String| error(StatusCode::BAD_REQUEST, &text);
    let submission = state.limits.message_size / 3 * 4 + BODY_SLACK;
    config
        .app_data(state.clone())
        .app_data(QueryConfig::default().error_handler(move |why, _| refusal(why, bad)))
        .app_data(PathConfig::default().error_handler(move |why, _| refusal(why, bad)))
        .route("/healthz", get().to(queue::health))
        .route("/readyz", get().to(queue::ready))
        .route("/api/v1/status", get().to(queue::status))
        .route("/api/v1/count", get().to(queue::count))
        .route("/api/v1/destinations", get().to(queue::destinations))
        .route("/api/v1/destinations/{destination}", delete().to(queue::reset))
        .route("/api/v1/connections", get().to(queue::connections))
        .route("/api/v1/clients", get().to(clients::clients))
        .route("/api/v1/clients/{client}", delete().to(clients::lift))
        .service(
            actix_web::web::resource("/api/v1/jobs")
                .route(get().to(queue::jobs))
                .route(put().to(queue::set_jobs)),
        )
        .service(
            actix_web::web::resource("/api/v1/messages")
                .app_data(MaxBody(submission))
                .route(post().to(messages::submit)),
        )
        .route("/api/v1/messages/{id}", get().to(message::get))
        .route("/api/v1/messages/{id}/body", get().to(message::body))
        .route("/api/v1/messages/{id}/explain", get().to(message::explain))
        .route("/api/v1/route", get().to(route::route))
        .route("/api/v1/freeze", post().to(operate::freeze))
        .route("/api/v1/send", post().to(operate::send))
        .route("/api/v1/remove", post().to(operate::remove))
        .route("/api/v1/recover", post().to(operate::recover))
        .route("/api/v1/purge", post().to(operate::purge))
        .route("/api/v1/reroute", post().to(operate::reroute))
        .route("/api/v1/bounce", post().to(operate::bounce))
        .route("/api/v1/expire", post().to(operate::expire))
        .route(EVENTS, get().to(events::follow))
        .default_service(actix_web::web::to(|| async {
            error(StatusCode::NOT_FOUND, "no such resource")
        }));
}

/// An error in the one form that all of them have.
fn error(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": text }))
}

/// An extractor's error in that form.
fn refusal(why: impl std::fmt::Display, answer: impl Fn(String) -> HttpResponse) -> actix_web::Error {
    let text = why.to_string();
    actix_web::error::InternalError::from_response(text.clone(), answer(text)).into()
}

/// An error that passes by itself.
fn busy(text: &str) -> HttpResponse {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

/// What the spool said no to.
fn refused(why: &SpoolError) -> HttpResponse {
    let status = match why {
        SpoolError::NoSuchMessage(_) => StatusCode::NOT_FOUND,
        SpoolError::NotFrozen(_)
        | SpoolError::NoRoute(_)
        | SpoolError::OnSpool(_)
        | SpoolError::NoConfiguration => StatusCode::CONFLICT,
        SpoolError::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        SpoolError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        SpoolError::Busy { .. } => return busy(&why.to_string()),
        SpoolError::Disk(_) | SpoolError::Killed | _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &why.to_string())
}
