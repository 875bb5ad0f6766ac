//! Submission over HTTP: 201 only once the message is durable.
//!
//! The same limits as over SMTP. What is too large is refused before it is decoded.

use super::caller::Caller;
use super::error::{HandlerResult, bad_request, error, response, with_response};
use super::read::{Body, decoded};
use super::state::State;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use spool_core::log::{Accepted, Record};
use spool_core::{
    AddError, Address, Envelope, FlowId, InitialStatus, NextHop, ReversePath, Routing, Submission, crlf,
};
use std::borrow::Cow;
use std::fmt;

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

/// Why a submission is refused.
#[derive(Debug)]
enum SubmitError {
    Bad(String),
    /// The message is larger than this limit.
    TooLarge(usize),
    Spool(AddError),
}

impl From<String> for SubmitError {
    fn from(why: String) -> Self {
        Self::Bad(why)
    }
}

pub(super) async fn submit(state: Data<State>, by: Caller, mut body: Body) -> HandlerResult {
    body.grow(PARSED)?;
    let relay = state.relay.clone();
    let read = move |body: Body| {
        let message = decode(&state, &body);
        // The text is dropped. The charge for it and for what was decoded is held until the answer.
        let held = body.into_charge();
        (message.and_then(|message| message.submission(&state, &by)), held)
    };
    let (submission, _held) = decoded(body, read).await?;
    let (submission, routing, accepted) = submission?;
    let spooled = relay.submit(submission, routing).await;
    let ids = spooled.map_err(SubmitError::Spool)?;
    if let Some(accepted) = accepted {
        accepted.emit(&ids);
    }
    Ok(HttpResponse::Created().json(serde_json::json!({ "ids": ids })))
}

impl From<SubmitError> for Error {
    fn from(refused: SubmitError) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match refused {
            SubmitError::Bad(why) | SubmitError::Spool(AddError::Invalid(why)) => bad_request(why),
            SubmitError::Spool(why @ AddError::TooManyRecipients { .. }) => bad_request(format!("to: {why}")),
            SubmitError::TooLarge(limit) => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a message has at most {limit} bytes"),
            ),
            SubmitError::Spool(why @ AddError::Busy { retry_after }) => {
                let mut response = response(unavailable, why);
                let seconds = retry_after.as_secs().max(1);
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                with_response(response)
            }
            SubmitError::Spool(why @ AddError::Full(_)) => error(StatusCode::INSUFFICIENT_STORAGE, why),
            SubmitError::Spool(ref why @ AddError::KeyReused { ref ids }) => with_response(
                HttpResponse::UnprocessableEntity()
                    .json(serde_json::json!({ "error": why.to_string(), "ids": ids })),
            ),
            SubmitError::Spool(why) => error(unavailable, why),
        }
    }
}

/// A submission whose text is no longer needed.
#[derive(Debug)]
struct DecodedSubmission {
    envelope: Envelope,
    body: Vec<u8>,
    next_hops: Vec<NextHop>,
    retry_intervals: Vec<String>,
    frozen: bool,
    key: Option<String>,
}

fn decode(state: &State, body: &Body) -> Result<DecodedSubmission, SubmitError> {
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
    Ok(DecodedSubmission {
        envelope,
        body,
        next_hops: request.next_hops.iter().map(hop).collect::<Result<_, _>>()?,
        retry_intervals: request.retry_intervals,
        frozen: request.frozen,
        key,
    })
}

/// The text of a message.
fn text(plain: Option<String>, encoded: Option<Cow<'_, str>>, most: usize) -> Result<Vec<u8>, SubmitError> {
    let too_large = |size: usize| size > most;
    match (plain, encoded) {
        (Some(text), None) if too_large(text.len()) => Err(SubmitError::TooLarge(most)),
        (Some(text), None) => Ok(text.into_bytes()),
        // Up to two of the last four bytes are padding.
        (None, Some(text)) if too_large((text.len() / 4 * 3).saturating_sub(2)) => {
            Err(SubmitError::TooLarge(most))
        }
        (None, Some(text)) => {
            let decoded = STANDARD.decode(text.as_bytes());
            let decoded = decoded.map_err(|error| format!("body_base64: {error}"))?;
            match too_large(decoded.len()) {
                true => Err(SubmitError::TooLarge(most)),
                false => Ok(decoded),
            }
        }
        (Some(_), Some(_)) | (None, None) => Err("give either body or body_base64".to_owned().into()),
    }
}

/// The recipients. Those beyond `limit` are counted and not kept, and refused.
fn recipients(text: &RawValue, limit: usize) -> Result<Vec<Address>, SubmitError> {
    let mut reader = serde_json::Deserializer::from_str(text.get());
    let (texts, count) = UpTo(limit)
        .deserialize(&mut reader)
        .map_err(|error| format!("to: {error}"))?;
    if count > limit {
        return Err(SubmitError::Spool(AddError::TooManyRecipients { count, limit }));
    }
    if texts.is_empty() {
        return Err("to: at least one recipient is needed".to_owned().into());
    }
    let recipient = |text: &String| {
        text.parse::<Address>()
            .map_err(|error| format!("to: {text}: {error}").into())
    };
    texts.iter().map(recipient).collect()
}

/// Reads so many texts of a list, and counts all of them.
struct UpTo(usize);

impl<'de> DeserializeSeed<'de> for UpTo {
    type Value = (Vec<String>, usize);

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for UpTo {
    type Value = (Vec<String>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of addresses")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.0 {
            match list.next_element::<String>()? {
                Some(text) => kept.push(text),
                None => {
                    let count = kept.len();
                    return Ok((kept, count));
                }
            }
        }
        let mut count = kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((kept, count))
    }
}

impl DecodedSubmission {
    /// The submission, the routing of its sections, and its log record.
    fn submission(
        self,
        state: &State,
        by: &Caller,
    ) -> Result<(Submission, Routing, Option<Accepted>), SubmitError> {
        let body = crlf(self.body.into()).map_err(|at| format!("the body has a NUL at byte {at}"))?;
        let intervals = crate::operation::intervals(&self.retry_intervals)?;
        let flows = vec![FlowId::random()];
        let accepted =
            Record::wanted().then(|| Accepted::new("http", by.source(), &self.envelope, body.len(), &flows));
        let (mut sections, routing) = state.relay.sections(self.envelope, &self.next_hops);
        for section in &mut sections {
            section.retry.intervals.splice(0..0, intervals.iter().copied());
        }
        let submission = Submission {
            initial: match self.frozen {
                true => InitialStatus::Frozen,
                false => InitialStatus::SendNow,
            },
            flows,
            key: self.key,
            ..Submission::new(sections, body)
        };
        Ok((submission, routing, accepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, limit: usize) -> Result<Vec<Address>, SubmitError> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        recipients(raw, limit)
    }

    #[test]
    fn recipients_beyond_the_limit_are_counted_and_not_kept() {
        assert_eq!(read(r#"["a@x.example", "b@x.example"]"#, 2).unwrap().len(), 2);
        let refused = read(r#"["a@x.example", "b@x.example", 3, [], "c"]"#, 2);
        assert!(
            matches!(
                refused,
                Err(SubmitError::Spool(AddError::TooManyRecipients {
                    count: 5,
                    limit: 2
                }))
            ),
            "{refused:?}"
        );
        for wrong in ["[]", "{}", "7", "\"a@x.example\"", "[1]", "null"] {
            let refused = read(wrong, 2);
            assert!(
                matches!(&refused, Err(SubmitError::Bad(why)) if why.starts_with("to: ")),
                "{wrong}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_not_decoded() {
        let encoded = |text: &str| text_of(None, Some(STANDARD.encode(text)));
        fn text_of(plain: Option<&str>, encoded: Option<String>) -> Result<Vec<u8>, SubmitError> {
            text(plain.map(str::to_owned), encoded.map(Cow::Owned), 10)
        }
        for fits in ["0123456789", "012345678", "01234567"] {
            assert_eq!(encoded(fits).unwrap(), fits.as_bytes());
            assert_eq!(text_of(Some(fits), None).unwrap(), fits.as_bytes());
        }
        assert!(matches!(encoded("01234567890"), Err(SubmitError::TooLarge(10))));
        assert!(matches!(
            text_of(Some("01234567890"), None),
            Err(SubmitError::TooLarge(10))
        ));
        assert!(matches!(
            text_of(None, Some("?".repeat(100))),
            Err(SubmitError::TooLarge(10))
        ));
        assert!(matches!(text_of(None, None), Err(SubmitError::Bad(_))));
    }
}
