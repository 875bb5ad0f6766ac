//! How much each client and user sends, and the lifting of their limits.

use super::answer::in_memory;
use super::queue::{NDJSON, lines};
use super::{State, error};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use spool_core::harmless;

/// Every client and user, one a line: who is limited first, then who sent the most.
pub(super) async fn clients(state: Data<State>) -> HttpResponse {
    match lines(&state.relay.clients.states()) {
        Ok(text) => in_memory(&state, StatusCode::OK, NDJSON, text),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Forgets what one of them did.
pub(super) async fn lift(state: Data<State>, client: Path<String>) -> HttpResponse {
    match state.relay.clients.lift(&client) {
        true => {
            tracing::info!(client = %harmless(&client), "limits of a client lifted");
            HttpResponse::Ok().json(serde_json::json!({ "lifted": *client }))
        }
        false => error(
            StatusCode::NOT_FOUND,
            &format!(
                "{}: no such client or user has done anything lately",
                harmless(&client)
            ),
        ),
    }
}
