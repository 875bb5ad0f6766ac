//! Counts the open connections of all listeners. Dropping its guard frees a place, however the session ended. A listener waits
//! until its places are free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// The open connections of one listener, each with a receiver. Nothing is sent.
#[derive(Debug, Default)]
pub(super) struct Opened(watch::Sender<()>);

/// One connection's place.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    open: Arc<AtomicUsize>,
    _mark: watch::Receiver<()>,
}

impl Opened {
    /// A place for a connection to the listener, unless `most` of all listeners, which `open` counts, are in use already.
    pub(super) fn admit(&self, open: &Arc<AtomicUsize>, most: usize) -> Option<ConnectionSlot> {
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(ConnectionSlot {
            open: Arc::clone(open),
            _mark: self.0.subscribe(),
        })
    }

    /// Waits until no connection of the listener is open.
    pub(super) async fn drained(self) {
        self.0.closed().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_over_all_listeners_and_given_back() {
        let open = Arc::default();
        let (one, other) = (Opened::default(), Opened::default());
        let first = one.admit(&open, 2).unwrap();
        let second = other.admit(&open, 2).unwrap();
        assert!(one.admit(&open, 2).is_none() && other.admit(&open, 2).is_none());
        drop(first);
        let third = one.admit(&open, 2).unwrap();
        drop((second, third));
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_waits_for_its_own_connections() {
        let open = Arc::default();
        let (opened, other) = (Opened::default(), Opened::default());
        let (place, _stays) = (opened.admit(&open, 9).unwrap(), other.admit(&open, 9).unwrap());
        let mut drained = std::pin::pin!(opened.drained());
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, drained.as_mut()).await.is_err());
        drop(place);
        tokio::time::timeout(second, drained).await.unwrap();
    }
}
