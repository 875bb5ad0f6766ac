//! The probes `/healthz` and `/readyz`.

use super::state::State;
use crate::loading::LOADING;
use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Data;
use spool_actors::Ending;
use std::time::Duration;

/// How long the disk may keep the writer thread waiting until the service is not ready: no mail is answered meanwhile.
const SLOWEST_DISK: Duration = Duration::from_secs(5);

/// Healthy: the service works, or was asked to end. One that has ended by itself must be restarted.
pub(super) async fn health(state: Data<State>) -> HttpResponse {
    match state.relay.gate.ending() {
        None | Some(Ending::Killed) => HttpResponse::Ok().body("ok\n"),
        Some(ending) => HttpResponse::ServiceUnavailable().body(format!("{ending}\n")),
    }
}

/// What `/readyz` says about a disk that has not answered for this long.
fn disk_hangs(busy_for: Option<Duration>) -> Option<String> {
    let long = busy_for.filter(|long| *long >= SLOWEST_DISK)?;
    Some(format!("the disk has not answered for {} s\n", long.as_secs()))
}

/// Ready: mail would be accepted now, and all mail of earlier runs is loaded.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    if state.relay.stopping.is_set() {
        return HttpResponse::ServiceUnavailable().body("the service is shutting down\n");
    }
    if let Some(text) = disk_hangs(state.relay.gate.disk_busy_for()) {
        return HttpResponse::ServiceUnavailable().body(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_whose_disk_does_not_answer_is_not_ready() {
        assert_eq!(disk_hangs(None), None);
        assert_eq!(disk_hangs(Some(Duration::from_millis(4999))), None);
        let hangs = disk_hangs(Some(Duration::from_millis(7300)));
        assert_eq!(hangs.as_deref(), Some("the disk has not answered for 7 s\n"));
    }
}
