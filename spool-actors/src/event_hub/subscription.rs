//! A subscriber's end of the event stream.

use super::follower::Follower;
use super::ring::Ring;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use spool_core::Event;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A stream of events that ends with the spool. A subscriber that missed events gets an
/// [`EventKind::Gap`](spool_core::EventKind::Gap) with their number. Dropping the stream unsubscribes.
pub struct Subscription(BoxStream<'static, Event>);

/// The reading end of a ring.
struct Reader(Arc<Ring>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Subscription {
    /// Events as they happen, from a ring in memory.
    pub(super) fn live(ring: Arc<Ring>) -> Self {
        let reader = Reader(ring);
        Self(stream::poll_fn(move |cx| reader.0.poll(cx)).boxed())
    }

    /// Events from the log on disk, and then as they happen.
    pub(crate) fn following(follower: Follower) -> Self {
        Self(follower.stream())
    }

    /// The next event; `None` after the spool has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
