//! The paths of the API and their handlers.

use super::error::{bad_request, response};
use super::operate::operate;
use super::read::{Body, MaxBody};
use super::slots::EVENTS;
use super::state::State;
use super::{caller::Caller, clients, events, jobs, message, messages, probes, queue, route};
use crate::operation::Operation;
use actix_web::http::StatusCode;
use actix_web::web::{Data, PathConfig, QueryConfig, ServiceConfig, delete, get, post, put, resource, to};

/// Slack for JSON and base64 round the largest message.
pub(super) const BODY_SLACK: usize = 64 * 1024;

pub(super) fn routes(config: &mut ServiceConfig, state: &Data<State>) {
    let submission = state.limits.message_size / 3 * 4 + BODY_SLACK;
    config
        .app_data(state.clone())
        .app_data(QueryConfig::default().error_handler(|why, _| bad_request(why)))
        .app_data(PathConfig::default().error_handler(|why, _| bad_request(why)))
        .route("/healthz", get().to(probes::health))
        .route("/readyz", get().to(probes::ready))
        .route("/api/v1/status", get().to(queue::status))
        .route("/api/v1/count", get().to(queue::count))
        .route("/api/v1/destinations", get().to(queue::destinations))
        .route("/api/v1/destinations/{destination}", delete().to(queue::reset))
        .route("/api/v1/connections", get().to(queue::connections))
        .route("/api/v1/clients", get().to(clients::clients))
        .route("/api/v1/clients/{client}", delete().to(clients::lift))
        .service(
            resource("/api/v1/jobs")
                .route(get().to(jobs::jobs))
                .route(put().to(jobs::set_jobs)),
        )
        .service(
            resource("/api/v1/messages")
                .app_data(MaxBody(submission))
                .route(post().to(messages::submit)),
        )
        .route("/api/v1/messages/{id}", get().to(message::get))
        .route("/api/v1/messages/{id}/body", get().to(message::body))
        .route("/api/v1/messages/{id}/explain", get().to(message::explain))
        .route("/api/v1/route", get().to(route::route))
        .route(EVENTS, get().to(events::follow))
        .default_service(to(|| async {
            response(StatusCode::NOT_FOUND, "no such resource")
        }));
    for operation in Operation::ALL {
        let handler = move |state: Data<State>, by: Caller, body: Body| operate(state, operation, by, body);
        config.route(&format!("/api/v1/{}", operation.name()), post().to(handler));
    }
}
