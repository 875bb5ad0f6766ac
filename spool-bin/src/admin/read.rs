//! The bodies of requests: bounded in size, in time and in memory, and JSON objects only.
//!
//! A body is charged to `listen.limits.memory` as it arrives, together with what is decoded from it, until the request is
//! answered. It never waits for memory: without it the client is asked to try again.

use super::error::{bad_request, busy, error, internal};
use super::state::State;
use super::write_timing::slowest;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use spool_core::Held;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a body may take, beside its time at the least rate.
const ALLOWANCE: Duration = Duration::from_secs(15);

/// Larger bodies are read on a thread of their own.
const READ_HERE: usize = 256 * 1024;

/// Bytes of a request for an operation: a hundred thousand ids.
pub(super) const MAX_REQUEST: usize = 4 << 20;

/// The most bytes of a body, where a route has another limit than [`MAX_REQUEST`].
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxBody(pub(super) usize);

/// A complete body, with the memory charged for it.
#[derive(Debug)]
pub(super) struct Body {
    text: Vec<u8>,
    held: Held,
}

impl Body {
    /// Charges what will be decoded from it as well: `parts` quarters of its size.
    pub(super) fn grow(&mut self, parts: usize) -> Result<(), Error> {
        let more = self.text.len() / 4 * parts;
        match self.held.grow(u64::try_from(more).unwrap_or(u64::MAX)) {
            true => Ok(()),
            false => Err(no_memory()),
        }
    }

    /// Its JSON object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn object<'b, T: Deserialize<'b>>(&'b self) -> Result<T, String> {
        object(&self.text)
    }

    /// Drops the text; the charge is held until the value is dropped.
    pub(super) fn into_charge(self) -> Held {
        self.held
    }
}

/// Decodes a body, on another thread when it is large, so that a probe does not wait for it.
///
/// # Errors
/// When there is no thread for it.
pub(super) async fn decoded<T: Send + 'static>(
    body: Body,
    decode: impl FnOnce(Body) -> T + Send + 'static,
) -> Result<T, Error> {
    if body.text.len() <= READ_HERE {
        return Ok(decode(body));
    }
    let decoded = actix_web::web::block(move || decode(body)).await;
    decoded.map_err(internal)
}

fn no_memory() -> Error {
    busy("busy: too many requests are being read; try again soon")
}

/// Reads a JSON object. Serde alone would also accept an array of the fields.
fn object<'b, T: Deserialize<'b>>(text: &'b [u8]) -> Result<T, String> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') {
        return Err("the body must be a JSON object".to_owned());
    }
    serde_json::from_slice(text).map_err(|why| why.to_string())
}

impl FromRequest for Body {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { take(&request, payload).await })
    }
}

async fn take(request: &HttpRequest, mut payload: Payload) -> Result<Body, Error> {
    let state = request.app_data::<Data<State>>();
    let state = state.ok_or_else(|| internal("no state"))?;
    let most = request.app_data::<MaxBody>().map_or(MAX_REQUEST, |max| max.0);
    let too_large = || {
        error(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has at most {most} bytes"),
        )
    };
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut held = state.memory.hold_first(0).ok_or_else(no_memory)?;
    // The whole capacity: memory that is not written costs nothing, and growing would need twice as much.
    let mut text = Vec::with_capacity(length.unwrap_or(most));
    let begun = Instant::now();
    loop {
        let got = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let chunk = match timeout_at(begun + ALLOWANCE + slowest(got), payload.next()).await {
            Ok(Some(chunk)) => chunk.map_err(bad_request)?,
            Ok(None) => return Ok(Body { text, held }),
            Err(_) => return Err(error(StatusCode::REQUEST_TIMEOUT, "the body takes too long")),
        };
        if text.len() + chunk.len() > most {
            return Err(too_large());
        }
        if !held.grow(u64::try_from(chunk.len()).unwrap_or(u64::MAX)) {
            return Err(no_memory());
        }
        text.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct One {
        max: usize,
    }

    #[test]
    fn only_json_objects_are_accepted() {
        assert_eq!(object::<One>(b" \r\n\t{\"max\": 7}").unwrap().max, 7);
        for text in [
            "[7]",
            " [7]",
            "7",
            "\"max\"",
            "null",
            "true",
            "",
            "{}",
            "\u{feff}{\"max\":7}",
        ] {
            assert!(object::<One>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
