//! One message: everything about it, its body, and what holds it.
//!
//! The id in the path is checked before anything else is done with it, and is never part of a file name here.

use super::answer::{Slices, charge, in_memory};
use super::queue::JSON;
use super::{State, error, refused};
use crate::page::{NoticePage, Page};
use crate::selector::read_id;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{Data, Path};
use serde_json::{Value, json};
use spool_actors::{Explain, Get, GetBody};
use spool_core::{Hold, MessageId, SpoolError};

fn id(path: &str) -> Result<MessageId, HttpResponse> {
    read_id(path).map_err(|why| error(StatusCode::BAD_REQUEST, &why))
}

pub(super) async fn get(state: Data<State>, path: Path<String>) -> HttpResponse {
    let id = match id(&path) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let details = state.relay.spool.send(Get(id)).await;
    match details.unwrap_or(Err(SpoolError::Killed)) {
        Ok(found) => {
            let mut page = Page::of(&found.message, found.queue, found.status, found.reason);
            page.next_hops_afterwards = found.next_hops_afterwards;
            page.parts = found.parts;
            match serde_json::to_vec(&page) {
                Ok(json) => in_memory(&state, StatusCode::OK, JSON, json),
                Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
            }
        }
        Err(why) => refused(&why),
    }
}

/// The body as it is relayed. A stranger wrote it: a browser must take it for nothing but a file.
pub(super) async fn body(state: Data<State>, path: Path<String>) -> HttpResponse {
    let id = match id(&path) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    // Charged before it is read.
    let details = state.relay.spool.send(Get(id)).await;
    let held = match details.unwrap_or(Err(SpoolError::Killed)) {
        Ok(found) => charge(&state, found.message.body_size),
        Err(why) => return refused(&why),
    };
    let held = match held {
        Ok(held) => held,
        Err(refusal) => return refusal,
    };
    let body = state.relay.spool.send(GetBody(id)).await;
    match body.unwrap_or(Err(SpoolError::Killed)) {
        Ok(body) => HttpResponse::Ok()
            .content_type("message/rfc822")
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.eml\"")))
            .body(Slices::new(body, held)),
        Err(why) => refused(&why),
    }
}

pub(super) async fn explain(state: Data<State>, path: Path<String>) -> HttpResponse {
    let id = match id(&path) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let holds = state.relay.spool.send(Explain(id)).await;
    let details = state.relay.spool.send(Get(id)).await;
    let details = details.ok().and_then(Result::ok);
    let notices: Vec<String> = details
        .iter()
        .flat_map(|details| NoticePage::of(&details.message))
        .map(|notice| notice.text())
        .collect();
    let reason = details.and_then(|details| {
        details
            .reason
            .or_else(|| spool_core::reason(&details.message.state))
    });
    match holds.unwrap_or(Err(SpoolError::Killed)) {
        Ok(holds) => {
            let holds: Vec<Value> = holds.iter().map(told).collect();
            HttpResponse::Ok().json(json!({ "id": id, "reason": reason, "holds": holds, "notices": notices }))
        }
        Err(why) => refused(&why),
    }
}

/// A hold with its text, for those who know no kinds.
fn told(hold: &Hold) -> Value {
    let mut value = serde_json::to_value(hold).unwrap_or_else(|_| json!({}));
    if let Some(fields) = value.as_object_mut() {
        fields.insert("text".to_owned(), hold.to_string().into());
    }
    value
}
