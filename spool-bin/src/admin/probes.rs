//! The probes `/healthz` and `/readyz`.

use super::state::State;
use crate::loading::LOADING;
use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Data;
use spool_actors::Ending;

/// Healthy: the service works, or was asked to end. One that has ended by itself must be restarted.
pub(super) async fn health(state: Data<State>) -> HttpResponse {
    match state.relay.gate.ending() {
        None | Some(Ending::Killed) => HttpResponse::Ok().body("ok\n"),
        Some(ending) => HttpResponse::ServiceUnavailable().body(format!("{ending}\n")),
    }
}

/// Ready: mail would be accepted now, and all mail of earlier runs is loaded.
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
                "loading the mail of earlier runs: {} % read; new mail is accepted\n",
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
