//! The bodies of answers: sent in slices, charged while they are in memory, and followed to their end.
//!
//! A large answer is charged to `listen.limits.memory` until its last byte is handed over; a reader that is too slow
//! loses its connection (see [`super::connection`]), and the memory comes back.

use super::server::Turn;
use super::{State, busy};
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use bytes::Bytes;
use spool_core::Held;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes handed to the connection at once. It copies them.
const SLICE: usize = 64 * 1024;

/// How often, and how long apart, memory is looked for in the middle of an answer.
const ROOM_TRIES: u32 = 100;
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Answers smaller than this are not charged.
const SMALL: usize = 16 * 1024;

/// Memory for an answer of `size` bytes.
pub(super) fn charge(state: &State, size: u64) -> Result<Held, HttpResponse> {
    state
        .memory
        .hold_first(size)
        .ok_or_else(|| busy("busy: too many answers are being read; try again soon"))
}

/// An answer that is whole in memory, charged if it is not small.
pub(super) fn in_memory(
    state: &State,
    status: StatusCode,
    content_type: &str,
    body: impl Into<Bytes>,
) -> HttpResponse {
    let body = body.into();
    let mut answer = HttpResponse::build(status);
    answer.content_type(content_type);
    if body.len() < SMALL {
        return answer.body(body);
    }
    match charge(state, u64::try_from(body.len()).unwrap_or(u64::MAX)) {
        Ok(held) => answer.body(Slices::new(body, held)),
        Err(refusal) => refusal,
    }
}

/// Memory for a part of `size` bytes of an answer that has begun: it waits for some time until there is room.
///
/// # Errors
/// When there was none for too long: the answer ends there, and is seen to be cut off.
pub(super) async fn charge_part(state: &State, size: usize) -> Result<Held, actix_web::Error> {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    for _ in 0..ROOM_TRIES {
        if let Some(held) = state.memory.hold_first(size) {
            return Ok(held);
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
    let text = "too many answers are being read";
    Err(actix_web::error::ErrorServiceUnavailable(text))
}

/// A body in slices, and the memory it is charged for.
pub(super) struct Slices {
    left: Bytes,
    _held: Held,
}

impl Slices {
    pub(super) const fn new(body: Bytes, held: Held) -> Self {
        Self {
            left: body,
            _held: held,
        }
    }
}

impl MessageBody for Slices {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.left.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let left = &mut self.get_mut().left;
        let slice = left.split_to(SLICE.min(left.len()));
        Poll::Ready((!slice.is_empty()).then_some(Ok(slice)))
    }
}

/// The body of every answer: when it ends, or is given up, the place is free and the connection waits again.
pub(super) struct Followed {
    /// `None` for HEAD: of the body only its size is told.
    body: Option<BoxBody>,
    size: BodySize,
    _turn: Turn,
    _place: Option<OwnedSemaphorePermit>,
}

impl Followed {
    pub(super) fn new(body: BoxBody, is_head: bool, turn: Turn, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            size: body.size(),
            body: (!is_head).then_some(body),
            _turn: turn,
            _place: place,
        }
    }
}

impl MessageBody for Followed {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
