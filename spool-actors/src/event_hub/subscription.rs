//! A subscriber's end of the event stream.

use super::follower::Follower;
use super::ring::Ring;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use spool_core::Event;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A stream of events that ends with the spool. A subscriber that missed events gets an
/// [`EventKind::Gap`](spool_core::EventKind::Gap) with their number. Dropping the stream unsubscribes.
pub struct Subscription(EventSource);

enum EventSource {
    /// As they happen, from a ring in memory.
    Live(Arc<Ring>),
    /// From the log on disk, and then as they happen.
    Log(BoxStream<'static, Event>),
}

impl Subscription {
    pub(super) const fn live(ring: Arc<Ring>) -> Self {
        Self(EventSource::Live(ring))
    }

    pub(crate) fn following(follower: Follower) -> Self {
        Self(EventSource::Log(follower.stream()))
    }

    /// The next event; `None` after the spool has ended.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match &mut self.0 {
            EventSource::Live(ring) => ring.poll(cx),
            EventSource::Log(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let EventSource::Live(ring) = &self.0 {
            ring.abandon();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            EventSource::Live(_) => "Subscription(live)",
            EventSource::Log(_) => "Subscription(log)",
        })
    }
}
