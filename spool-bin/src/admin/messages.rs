//! Submission over HTTP: 201 only once the message is durable.

use super::{State, error};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{Bytes, Data};
use base64::Engine;
use serde::Deserialize;
use spool_core::{
    AddError, Address, Envelope, FlowId, InitialStatus, MessageId, NextHop, ReversePath, Submission, crlf,
};

/// Bytes of an idempotency key.
const MAX_KEY: usize = 255;

/// A message to spool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    from: String,
    to: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
    #[serde(default)]
    next_hops: Vec<String>,
    #[serde(default)]
    retry_intervals: Vec<String>,
    #[serde(default)]
    frozen: bool,
    #[serde(default)]
    idempotency_key: Option<String>,
}

pub(super) async fn submit(state: Data<State>, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let body = match super::body(body) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match spool(&state, &body).await {
        Ok(ids) => HttpResponse::Created().json(serde_json::json!({ "ids": ids })),
        Err(refusal) => refusal,
    }
}

async fn spool(state: &State, body: &[u8]) -> Result<Vec<MessageId>, HttpResponse> {
    let bad = |text: String| error(StatusCode::BAD_REQUEST, &text);
    let request: Request = serde_json::from_slice(body).map_err(|why| bad(why.to_string()))?;
    let (submission, size) = read(state, request).map_err(bad)?;
    if size > state.message_size {
        return Err(error(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("a message has at most {} bytes", state.message_size),
        ));
    }
    state.relay.submit(submission).await.map_err(|why| match why {
        AddError::Busy { retry_after } => {
            let seconds = retry_after.as_secs().max(1).to_string();
            let mut response = error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string());
            if let Ok(value) = seconds.parse() {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
            response
        }
        AddError::Full(_) => error(StatusCode::INSUFFICIENT_STORAGE, &why.to_string()),
        AddError::Invalid(text) => bad(text),
        AddError::KeyReused { ref ids } => HttpResponse::UnprocessableEntity().json(serde_json::json!({
            "error": why.to_string(),
            "ids": ids,
        })),
        AddError::Disk(_) | AddError::Killed | _ => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    })
}

fn read(state: &State, request: Request) -> Result<(Submission, usize), String> {
    let from = ReversePath::parse(&request.from).map_err(|error| format!("from: {error}"))?;
    let recipient = |text: &String| {
        text.parse::<Address>()
            .map_err(|error| format!("to: {text}: {error}"))
    };
    let to = request.to.iter().map(recipient).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() {
        return Err("to: at least one recipient is needed".to_owned());
    }
    let body = match (request.body, request.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| format!("body_base64: {error}"))?,
        (Some(_), Some(_)) | (None, None) => return Err("give either body or body_base64".to_owned()),
    };
    let size = body.len();
    let body = crlf(body.into()).map_err(|at| format!("the body has a NUL at byte {at}"))?;
    let mut envelope = Envelope::new(from, to);
    envelope.parameters.smtputf8 = envelope.needs_smtputf8();
    let hop = |text: &String| {
        text.parse::<NextHop>()
            .map_err(|error| format!("next_hops: {text}: {error}"))
    };
    let next_hops = request.next_hops.iter().map(hop).collect::<Result<Vec<_>, _>>()?;
    let intervals = crate::operation::intervals(&request.retry_intervals)?;
    let key = request.idempotency_key;
    if key
        .as_ref()
        .is_some_and(|key| !(1..=MAX_KEY).contains(&key.len()))
    {
        return Err(format!("idempotency_key: 1 to {MAX_KEY} bytes"));
    }
    let mut sections = state.relay.sections(envelope, &next_hops);
    for section in &mut sections {
        section.retry.intervals.splice(0..0, intervals.iter().copied());
    }
    let initial = if request.frozen {
        InitialStatus::Frozen
    } else {
        InitialStatus::SendNow
    };
    Ok((
        Submission {
            sections,
            body,
            initial,
            flows: vec![FlowId::random()],
            parent: None,
            related: Vec::new(),
            key,
        },
        size,
    ))
}
