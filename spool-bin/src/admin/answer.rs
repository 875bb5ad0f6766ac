//! The bodies of answers: sent in slices, and charged while they are in memory.
//!
//! A large answer is charged to `listen.limits.memory` until its last byte is handed over. The connection of a reader that is
//! too slow is closed (see [`super::connection`]), which releases the memory.

use super::error::{HandlerResult, busy, internal};
use super::state::State;
use actix_web::body::{MessageBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::{Error, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use spool_core::Held;
use std::convert::Infallible;
use std::time::Duration;

const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Bytes handed to the connection at once. It copies them.
const SLICE: usize = 64 * 1024;

/// How often memory for the next part of an answer is tried for, and the pause between two tries.
const MEMORY_TRIES: u32 = 100;
const MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// Answers smaller than this are not charged.
const SMALL: usize = 16 * 1024;

/// Memory for an answer of `size` bytes.
pub(super) fn charge(state: &State, size: u64) -> Result<Held, Error> {
    let held = state.memory.hold_first(size);
    held.ok_or_else(|| busy("busy: too many answers are being read; try again soon"))
}

/// A value as JSON.
pub(super) fn json<T: Serialize>(state: &State, status: StatusCode, value: &T) -> HandlerResult {
    in_memory(state, status, JSON, serde_json::to_vec(value).map_err(internal)?)
}

/// A list of values as JSON, one a line.
pub(super) fn ndjson<T: Serialize>(state: &State, values: &[T]) -> HandlerResult {
    in_memory(state, StatusCode::OK, NDJSON, lines(values).map_err(internal)?)
}

pub(super) fn lines<T: Serialize>(values: &[T]) -> Result<Bytes, serde_json::Error> {
    let mut text = Vec::with_capacity(values.len() * 256);
    for value in values {
        serde_json::to_writer(&mut text, value)?;
        text.push(b'\n');
    }
    Ok(text.into())
}

/// An answer that is completely in memory, charged unless it is small.
fn in_memory(state: &State, status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> HandlerResult {
    let body = body.into();
    let mut answer = HttpResponse::build(status);
    answer.content_type(content_type);
    if body.len() < SMALL {
        return Ok(answer.body(body));
    }
    let held = charge(state, u64::try_from(body.len()).unwrap_or(u64::MAX))?;
    Ok(answer.body(slices(body, held)))
}

/// Memory for a part of `size` bytes of an answer that has begun; it waits for memory for some time.
///
/// # Errors
/// When there was none in that time: the answer ends there, and the reader sees that it is incomplete.
pub(super) async fn charge_part(state: &State, size: usize) -> Result<Held, Error> {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    for _ in 0..MEMORY_TRIES {
        if let Some(held) = state.memory.hold_first(size) {
            return Ok(held);
        }
        tokio::time::sleep(MEMORY_PAUSE).await;
    }
    let text = "too many answers are being read";
    Err(actix_web::error::ErrorServiceUnavailable(text))
}

/// A body in slices; `held` is the memory charged for it.
pub(super) fn slices(mut left: Bytes, held: Held) -> impl MessageBody + 'static {
    let size = u64::try_from(left.len()).unwrap_or(u64::MAX);
    let next = move || {
        // Released when the body is dropped.
        let _held = &held;
        let slice = left.split_to(SLICE.min(left.len()));
        (!slice.is_empty()).then_some(Ok::<_, Infallible>(slice))
    };
    SizedStream::new(size, stream::iter(std::iter::from_fn(next)))
}
