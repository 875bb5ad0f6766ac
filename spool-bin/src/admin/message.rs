//! One message: its record, its body, and why it waits.
//!
//! The id in the path is checked before anything else is done, and is never part of a file name here.

use super::answer::{charge, json as json_answer, slices};
use super::error::{HandlerResult, bad_request, refused};
use super::state::State;
use crate::page::{NoticePage, Page};
use crate::selector::read_id;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{Data, Path};
use actix_web::{Error, HttpResponse};
use serde_json::{Value, json};
use spool_actors::{Explain, Get, GetBody};
use spool_core::{Hold, MessageId};

fn id(path: &str) -> Result<MessageId, Error> {
    read_id(path).map_err(bad_request)
}

pub(super) async fn get(state: Data<State>, path: Path<String>) -> HandlerResult {
    let found = state.ask(Get(id(&path)?)).await.map_err(refused)?;
    let mut page = Page::of(&found.message, found.queue, found.status, found.reason);
    page.next_hops_afterwards = found.next_hops_afterwards;
    page.divide(found.parts, &found.moved);
    json_answer(&state, StatusCode::OK, &page)
}

/// The body as it is relayed. It comes from a stranger: a browser must treat it as nothing but a file.
pub(super) async fn body(state: Data<State>, path: Path<String>) -> HandlerResult {
    let id = id(&path)?;
    // Charged before it is read.
    let details = state.ask(Get(id)).await.map_err(refused)?;
    let held = charge(&state, details.message.body_size)?;
    let body = state.ask(GetBody(id)).await.map_err(refused)?;
    Ok(HttpResponse::Ok()
        .content_type("message/rfc822")
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.eml\"")))
        .body(slices(body, held)))
}

pub(super) async fn explain(state: Data<State>, path: Path<String>) -> HandlerResult {
    let id = id(&path)?;
    let holds = state.ask(Explain(id)).await;
    let details = state.ask(Get(id)).await.ok();
    let notices = details
        .iter()
        .flat_map(|details| NoticePage::of(&details.message));
    let notices: Vec<String> = notices.map(|notice| notice.text()).collect();
    let reason = details.and_then(|details| {
        let state = &details.message.state;
        details.reason.or_else(|| spool_core::reason(state))
    });
    let holds: Vec<Value> = holds.map_err(refused)?.iter().map(with_text).collect();
    let answer = json!({ "id": id, "reason": reason, "holds": holds, "notices": notices });
    Ok(HttpResponse::Ok().json(answer))
}

/// A hold with its text, for clients that do not know its kind.
fn with_text(hold: &Hold) -> Value {
    let mut value = serde_json::to_value(hold).unwrap_or_else(|_| json!({}));
    if let Some(fields) = value.as_object_mut() {
        fields.insert("text".to_owned(), hold.to_string().into());
    }
    value
}
