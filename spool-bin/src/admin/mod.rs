//! The admin API: HTTP on loopback, by actix-web. It asks the spool and prints; the guard stands before everything.

#![allow(clippy::result_large_err, reason = "the error is the response that is sent")]

mod guard;
mod messages;
mod queue;

use crate::wire::Relay;
use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, web};
use guard::{Hosts, guard};
use std::net::TcpListener;

/// Slack for JSON and base64 round the largest message.
const BODY_SLACK: usize = 64 * 1024;

/// What every handler can reach.
pub(crate) struct State {
    pub(crate) relay: Relay,
    /// Bytes of the largest message.
    pub(crate) message_size: usize,
}

/// Serves the API on `listener` until it is stopped.
pub(crate) fn serve(listener: TcpListener, relay: Relay, message_size: usize) -> std::io::Result<Server> {
    let hosts = web::Data::new(Hosts::of(listener.local_addr()?));
    let state = web::Data::new(State { relay, message_size });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(hosts.clone())
            .app_data(web::PayloadConfig::new(message_size / 3 * 4 + BODY_SLACK))
            .wrap(from_fn(guard))
            .configure(routes)
    });
    Ok(server
        .workers(1)
        .disable_signals()
        .shutdown_timeout(2)
        .listen(listener)?
        .run())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(queue::health))
        .route("/readyz", web::get().to(queue::ready))
        .route("/api/v1/status", web::get().to(queue::status))
        .route("/api/v1/count", web::get().to(queue::count))
        .route("/api/v1/jobs", web::get().to(queue::jobs))
        .route("/api/v1/jobs", web::put().to(queue::set_jobs))
        .route("/api/v1/messages", web::post().to(messages::submit))
        .default_service(web::to(|| async {
            error(StatusCode::NOT_FOUND, "no such resource")
        }));
}

/// An error in the one form that all of them have.
fn error(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": text }))
}
