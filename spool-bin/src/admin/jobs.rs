//! The number of concurrent deliveries.

use super::audit::log;
use super::caller::Caller;
use super::error::{HandlerResult, bad_request, refused};
use super::read::Body;
use super::state::State;
use crate::operation::Report;
use actix_web::HttpResponse;
use actix_web::web::Data;
use spool_actors::{GetJobs, SetMaxConcurrentJobs};

pub(super) async fn jobs(state: Data<State>) -> HandlerResult {
    Ok(HttpResponse::Ok().json(state.ask(GetJobs).await.map_err(refused)?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SetJobs {
    max: usize,
}

pub(super) async fn set_jobs(state: Data<State>, by: Caller, body: Body) -> HandlerResult {
    let SetJobs { max } = body.object().map_err(bad_request)?;
    let set = state.ask(SetMaxConcurrentJobs(max)).await;
    let report = Report::default();
    log(
        "jobs",
        by,
        (format!("max={max}"), None),
        set.as_ref().map(|()| &report),
    );
    set.map_err(refused)?;
    jobs(state).await
}
