//! One subscriber's ring: the newest events, and how many older ones it missed.

use futures_util::task::AtomicWaker;
use spool_core::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

#[derive(Debug, Default)]
struct Events {
    queue: VecDeque<Event>,
    missed: u64,
}

#[derive(Debug)]
pub(crate) struct Ring {
    events: Mutex<Events>,
    capacity: usize,
    waker: AtomicWaker,
    closed: AtomicBool,
    abandoned: AtomicBool,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            capacity,
            waker: AtomicWaker::new(),
            closed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, dropping the oldest when full; `false` when nobody reads any more.
    pub(super) fn push(&self, event: &Event) -> bool {
        if self.abandoned.load(Ordering::Acquire) {
            return false;
        }
        let mut events = self.lock();
        if events.queue.len() == self.capacity
            && let Some(lost) = events.queue.pop_front()
        {
            events.missed += u64::from(lost.kind != EventKind::Ping);
        }
        events.queue.push_back(event.clone());
        drop(events);
        self.waker.wake();
        true
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn pop(&self) -> Option<Event> {
        let mut events = self.lock();
        if events.missed == 0 {
            return events.queue.pop_front();
        }
        let missed = std::mem::take(&mut events.missed);
        let next = events.queue.front()?;
        // The gap lies right before the oldest event that is still here.
        let (seq, at) = (next.seq.saturating_sub(1), next.at);
        Some(Event::new(seq, at, EventKind::Gap(missed)))
    }
}

impl Ring {
    /// The next event; `None` after the spool has ended.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.pop() {
            return Poll::Ready(Some(event));
        }
        self.waker.register(cx.waker());
        // Looked at again after the waker stands: an event pushed in between is not slept through.
        let closed = self.closed.load(Ordering::Acquire);
        match self.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Nobody reads any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Subscription;
    use super::*;
    use spool_core::Timestamp;

    fn event(seq: u64) -> Event {
        Event::new(seq, Timestamp(0), EventKind::Spooled)
    }

    #[tokio::test]
    async fn whoever_falls_behind_is_told_how_much_it_missed() {
        let ring = Ring::new(3);
        let mut subscription = Subscription::live(Arc::clone(&ring));
        for seq in 1..=10 {
            assert!(ring.push(&event(seq)));
        }
        ring.close();
        let mut seen = Vec::new();
        while let Some(event) = subscription.next().await {
            seen.push((event.seq, event.kind));
        }
        let spooled = |seq| (seq, EventKind::Spooled);
        assert_eq!(
            seen,
            [(7, EventKind::Gap(7)), spooled(8), spooled(9), spooled(10)]
        );
        drop(subscription);
        assert!(!ring.push(&event(11)));
    }
}
