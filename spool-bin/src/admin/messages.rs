//! Submission over HTTP: 201 only once the message is durable.
//!
//! The same limits as over SMTP. What is too large is refused before it is decoded.

use super::caller::{Caller, source};
use super::error::{HandlerResult, bad_request, busy, error, with_response};
use super::read::{Body, decoded};
use super::state::State;
use crate::relay::SubmitOptions;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use spool_core::{AddError, Address, Envelope, FlowId, Mail, NextHop, ReversePath, crlf};
use std::borrow::Cow;

/// Bytes of an idempotency key.
const MAX_KEY: usize = 255;

/// What is decoded from a body, in quarters of its text: the message and the recipients.
const PARSED: usize = 5;

/// A submission. Values that may be large are not decoded before their size is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitRequest<'b> {
    from: String,
    #[serde(borrow)]
    to: &'b RawValue,
    #[serde(default)]
    body: Option<String>,
    #[serde(default, borrow)]
    body_base64: Option<Cow<'b, str>>,
    #[serde(default)]
    next_hops: Vec<String>,
    #[serde(default)]
    retry_intervals: Vec<String>,
    #[serde(default)]
    frozen: bool,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// The status and the text of a refusal.
#[derive(Debug, PartialEq, Eq)]
struct SubmitRefusal(StatusCode, String);

impl From<String> for SubmitRefusal {
    fn from(why: String) -> Self {
        Self(StatusCode::BAD_REQUEST, why)
    }
}

pub(super) async fn submit(state: Data<State>, by: Caller, mut body: Body) -> HandlerResult {
    body.grow(PARSED)?;
    let relay = state.relay.clone();
    let read = move |body: Body| {
        let mail = decode(&state, by, &body);
        // The text is dropped. The charge for it and for what was decoded is held until the answer.
        let held = body.into_charge();
        (mail.and_then(with_crlf), held)
    };
    let (mail, _held) = decoded(body, read).await?;
    let (mail, options) = mail.map_err(|SubmitRefusal(status, why)| error(status, why))?;
    let ids = relay.submit("http", mail, options).await.map_err(refused)?;
    Ok(HttpResponse::Created().json(serde_json::json!({ "ids": ids })))
}

/// An error of the spool.
fn refused(why: AddError) -> Error {
    let status = match &why {
        AddError::Invalid(why) => return bad_request(why),
        AddError::TooManyRecipients { .. } => return bad_request(format!("to: {why}")),
        AddError::Busy => return busy(why),
        AddError::KeyReused { ids } => {
            let answer = serde_json::json!({ "error": why.to_string(), "ids": ids });
            return with_response(HttpResponse::UnprocessableEntity().json(answer));
        }
        AddError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        AddError::Disk(_) | AddError::Ended(_) | AddError::Unsigned(_) | AddError::Killed | _ => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    error(status, why)
}

/// The mail with its text as it is given, and its options.
fn decode(state: &State, by: Caller, body: &Body) -> Result<(Mail, SubmitOptions), SubmitRefusal> {
    let request: SubmitRequest<'_> = body.object()?;
    let from = ReversePath::parse(&request.from).map_err(|error| format!("from: {error}"))?;
    let to = recipients(request.to, state.limits.recipients)?;
    let body = text(request.body, request.body_base64, state.limits.message_size)?;
    let key = request.idempotency_key;
    if key
        .as_ref()
        .is_some_and(|key| !(1..=MAX_KEY).contains(&key.len()))
    {
        return Err(format!("idempotency_key: 1 to {MAX_KEY} bytes").into());
    }
    let hop = |text: &String| {
        text.parse::<NextHop>()
            .map_err(|error| format!("next_hops: {text}: {error}"))
    };
    let mut envelope = Envelope::of(from, to);
    envelope.parameters.smtputf8 = envelope.needs_smtputf8();
    let mail = Mail {
        envelope,
        body: body.into(),
        flows: vec![FlowId::random()],
        source: source(by),
    };
    let options = SubmitOptions {
        next_hops: request.next_hops.iter().map(hop).collect::<Result<_, _>>()?,
        retry_intervals: crate::operation::intervals(&request.retry_intervals)?,
        frozen: request.frozen,
        key,
    };
    Ok((mail, options))
}

/// The mail with lines ended by CRLF.
fn with_crlf((mail, options): (Mail, SubmitOptions)) -> Result<(Mail, SubmitOptions), SubmitRefusal> {
    let body = crlf(mail.body).map_err(|at| format!("the body has a NUL at byte {at}"))?;
    Ok((Mail { body, ..mail }, options))
}

/// The text of a message.
fn text(plain: Option<String>, encoded: Option<Cow<'_, str>>, most: usize) -> Result<Vec<u8>, SubmitRefusal> {
    let checked = |size: usize| match size > most {
        true => Err(SubmitRefusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a message has at most {most} bytes"),
        )),
        false => Ok(()),
    };
    match (plain, encoded) {
        (Some(text), None) => checked(text.len()).map(|()| text.into_bytes()),
        (None, Some(text)) => {
            // Up to two of the last four bytes are padding.
            checked((text.len() / 4 * 3).saturating_sub(2))?;
            let decoded = STANDARD.decode(text.as_bytes());
            let decoded = decoded.map_err(|error| format!("body_base64: {error}"))?;
            checked(decoded.len()).map(|()| decoded)
        }
        (Some(_), Some(_)) | (None, None) => Err("give either body or body_base64".to_owned().into()),
    }
}

/// The recipients. They are counted first: if there are more than `limit`, none is kept.
fn recipients(text: &RawValue, limit: usize) -> Result<Vec<Address>, SubmitRefusal> {
    // serde calls a list a sequence.
    let wrong = |error: serde_json::Error| {
        format!("to: {error}").replace("expected a sequence", "expected a list of addresses")
    };
    let count = serde_json::from_str::<Vec<IgnoredAny>>(text.get())
        .map_err(wrong)?
        .len();
    if count > limit {
        let why = AddError::TooManyRecipients { count, limit };
        return Err(format!("to: {why}").into());
    }
    if count == 0 {
        return Err("to: at least one recipient is needed".to_owned().into());
    }
    let texts: Vec<String> = serde_json::from_str(text.get()).map_err(wrong)?;
    let recipient = |text: &String| {
        text.parse::<Address>()
            .map_err(|error| format!("to: {text}: {error}").into())
    };
    texts.iter().map(recipient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, limit: usize) -> Result<Vec<Address>, SubmitRefusal> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        recipients(raw, limit)
    }

    #[test]
    fn recipients_beyond_the_limit_are_counted_and_not_kept() {
        assert_eq!(read(r#"["a@x.example", "b@x.example"]"#, 2).unwrap().len(), 2);
        let refused = read(r#"["a@x.example", "b@x.example", 3, [], "c"]"#, 2);
        let why = AddError::TooManyRecipients { count: 5, limit: 2 };
        assert_eq!(refused, Err(format!("to: {why}").into()));
        for wrong in ["[]", "{}", "7", "\"a@x.example\"", "[1]", "null"] {
            let refused = read(wrong, 2);
            assert!(
                matches!(&refused, Err(SubmitRefusal(StatusCode::BAD_REQUEST, why)) if why.starts_with("to: ")),
                "{wrong}: {refused:?}"
            );
        }
        let why = "to: invalid type: integer `7`, expected a list of addresses at line 1 column 1";
        assert_eq!(read("7", 2), Err(why.to_owned().into()));
    }

    #[test]
    fn a_message_that_is_too_large_is_not_decoded() {
        let encoded = |text: &str| text_of(None, Some(STANDARD.encode(text)));
        fn text_of(plain: Option<&str>, encoded: Option<String>) -> Result<Vec<u8>, SubmitRefusal> {
            text(plain.map(str::to_owned), encoded.map(Cow::Owned), 10)
        }
        for fits in ["0123456789", "012345678", "01234567"] {
            assert_eq!(encoded(fits).unwrap(), fits.as_bytes());
            assert_eq!(text_of(Some(fits), None).unwrap(), fits.as_bytes());
        }
        let why = "a message has at most 10 bytes".to_owned();
        assert_eq!(
            encoded("01234567890"),
            Err(SubmitRefusal(StatusCode::PAYLOAD_TOO_LARGE, why))
        );
        assert!(matches!(
            text_of(Some("01234567890"), None),
            Err(SubmitRefusal(StatusCode::PAYLOAD_TOO_LARGE, _))
        ));
        assert!(matches!(
            text_of(None, Some("?".repeat(100))),
            Err(SubmitRefusal(StatusCode::PAYLOAD_TOO_LARGE, _))
        ));
        assert!(matches!(
            text_of(None, None),
            Err(SubmitRefusal(StatusCode::BAD_REQUEST, _))
        ));
    }
}
