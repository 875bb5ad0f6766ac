//! One subscriber's ring: the newest events, and how many older ones it missed.

use futures_util::task::AtomicWaker;
use spool_core::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// The most bytes of events in one ring, and the newest event.
const MAX_BYTES: usize = 4 << 20;
/// The same in all rings together.
const MAX_BYTES_OF_ALL: usize = 16 << 20;

/// The most bytes of events in each of so many rings, and the newest event.
pub(super) fn share(rings: usize) -> usize {
    (MAX_BYTES_OF_ALL / rings.max(1)).min(MAX_BYTES)
}

#[derive(Debug, Default)]
struct Events {
    queue: VecDeque<Event>,
    bytes: usize,
    missed: u64,
}

impl Events {
    fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(event.footprint());
        Some(event)
    }
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

    /// Adds an event, dropping the oldest when there are too many or more than `most` bytes; `false` when nobody reads any more.
    pub(super) fn push(&self, event: &Event, most: usize) -> bool {
        if self.abandoned.load(Ordering::Acquire) {
            return false;
        }
        let mut events = self.lock();
        while (events.queue.len() >= self.capacity || events.bytes >= most)
            && let Some(lost) = events.pop()
        {
            events.missed += u64::from(lost.kind != EventKind::Ping);
        }
        events.bytes += event.footprint();
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
            return events.pop();
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

    #[test]
    fn large_events_are_bounded_by_their_bytes() {
        let ring = Ring::new(4096);
        let recipients = (0..1000).map(|number| format!("recipient-{number}@destination.example"));
        let mut large = event(1);
        large.envelope = Some(Arc::new(spool_core::EnvelopeSummary {
            sender: String::new(),
            recipients: recipients.collect(),
            size: 1,
        }));
        for seq in 1..=1000 {
            large.seq = seq;
            assert!(ring.push(&large, share(1)));
        }
        let events = ring.lock();
        assert!(events.bytes <= MAX_BYTES + large.footprint());
        let kept = u64::try_from(events.queue.len()).unwrap();
        assert_eq!(
            (events.missed + kept, events.queue.back().unwrap().seq),
            (1000, 1000)
        );
    }

    #[test]
    fn many_subscribers_share_the_memory_of_a_few() {
        const MANY: usize = 100;
        let rings: Vec<_> = (0..MANY).map(|_| Ring::new(4096)).collect();
        let mut large = event(1);
        large.reason = Some("r".repeat(10_000));
        for _ in 0..1000 {
            assert!(rings.iter().all(|ring| ring.push(&large, share(MANY))));
        }
        let bytes: usize = rings.iter().map(|ring| ring.lock().bytes).sum();
        assert!(bytes <= MAX_BYTES_OF_ALL + MANY * large.footprint(), "{bytes}");
    }

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_learns_how_much_it_missed() {
        let ring = Ring::new(3);
        let mut subscription = Subscription::live(Arc::clone(&ring));
        for seq in 1..=10 {
            assert!(ring.push(&event(seq), share(1)));
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
        assert!(!ring.push(&event(11), share(1)));
    }
}
