//! The admin API: HTTP on loopback, by actix-web. It asks the spool and prints; the guard stands before everything.

#![allow(clippy::result_large_err, reason = "the error is the response that is sent")]

mod events;
mod guard;
mod message;
mod messages;
mod operate;
mod queue;
mod select;
#[cfg(test)]
mod tests;
mod token;

use crate::wire::Relay;
use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{
    Bytes, Data, JsonConfig, PathConfig, PayloadConfig, QueryConfig, ServiceConfig, get, post, put,
};
use actix_web::{App, HttpResponse, HttpServer};
use guard::{Door, Hosts, guard};
use spool_core::SpoolError;
use spool_smtp::client::SmtpAgent;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub(crate) use token::Token;

/// Slack for JSON and base64 round the largest message.
const BODY_SLACK: usize = 64 * 1024;
/// Bytes of a request for an operation: a hundred thousand ids.
const MAX_REQUEST: usize = 4 << 20;

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;

/// What every handler can reach.
pub(crate) struct State {
    relay: Relay,
    /// Who holds the sessions with next hops.
    agent: Arc<SmtpAgent>,
    /// Bytes of the largest message.
    message_size: usize,
    /// Where the shelves are.
    spool_dir: PathBuf,
    /// Places for those who follow the events.
    followers: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new(relay: Relay, agent: Arc<SmtpAgent>, message_size: usize, spool_dir: PathBuf) -> Self {
        Self {
            relay,
            agent,
            message_size,
            spool_dir,
            followers: Arc::new(Semaphore::new(events::MAX_FOLLOWERS)),
        }
    }
}

/// Serves the API on `listener` until it is stopped.
///
/// With a `token` every request must bring it; `name` is this machine's, for requests from elsewhere.
pub(crate) fn serve(
    listener: TcpListener,
    state: State,
    token: Option<Token>,
    name: &str,
) -> std::io::Result<Server> {
    let hosts = Hosts::of(listener.local_addr()?, name);
    let door = Data::new(Door { hosts, token });
    let state = Data::new(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(door.clone())
            .wrap(from_fn(guard))
            .configure(|config| routes(config, &state))
    });
    Ok(server
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .disable_signals()
        .shutdown_timeout(2)
        .listen(listener)?
        .run())
}

fn routes(config: &mut ServiceConfig, state: &Data<State>) {
    let bad = |text: String| error(StatusCode::BAD_REQUEST, &text);
    let submission = state.message_size / 3 * 4 + BODY_SLACK;
    config
        .app_data(state.clone())
        .app_data(PayloadConfig::new(MAX_REQUEST))
        .app_data(JsonConfig::default().error_handler(move |why, _| refusal(why, bad)))
        .app_data(QueryConfig::default().error_handler(move |why, _| refusal(why, bad)))
        .app_data(PathConfig::default().error_handler(move |why, _| refusal(why, bad)))
        .route("/healthz", get().to(queue::health))
        .route("/readyz", get().to(queue::ready))
        .route("/api/v1/status", get().to(queue::status))
        .route("/api/v1/count", get().to(queue::count))
        .route("/api/v1/destinations", get().to(queue::destinations))
        .route("/api/v1/connections", get().to(queue::connections))
        .service(
            actix_web::web::resource("/api/v1/jobs")
                .route(get().to(queue::jobs))
                .route(put().to(queue::set_jobs)),
        )
        .service(
            actix_web::web::resource("/api/v1/messages")
                .app_data(PayloadConfig::new(submission))
                .route(post().to(messages::submit)),
        )
        .route("/api/v1/messages/{id}", get().to(message::get))
        .route("/api/v1/messages/{id}/body", get().to(message::body))
        .route("/api/v1/messages/{id}/explain", get().to(message::explain))
        .route("/api/v1/freeze", post().to(operate::freeze))
        .route("/api/v1/send", post().to(operate::send))
        .route("/api/v1/remove", post().to(operate::remove))
        .route("/api/v1/recover", post().to(operate::recover))
        .route("/api/v1/purge", post().to(operate::purge))
        .route("/api/v1/events", get().to(events::follow))
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

/// A body that was read whole, or why it was not.
fn body(body: Result<Bytes, actix_web::Error>) -> Result<Bytes, HttpResponse> {
    body.map_err(|why| error(why.as_response_error().status_code(), &why.to_string()))
}

/// What the spool said no to.
fn refused(why: &SpoolError) -> HttpResponse {
    let status = match why {
        SpoolError::NoSuchMessage(_) => StatusCode::NOT_FOUND,
        SpoolError::NotFrozen(_) | SpoolError::OnSpool(_) => StatusCode::CONFLICT,
        SpoolError::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        SpoolError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        SpoolError::Disk(_) | SpoolError::Killed | _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &why.to_string())
}
