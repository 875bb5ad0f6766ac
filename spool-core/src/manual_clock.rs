//! A clock that is set by hand.

use crate::clock::{Clock, Timestamp};
use crate::future::BoxFuture;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A clock whose time changes only when it is set. For tests and simulations. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    now: Timestamp,
    steady: Duration,
    /// How many times it was set by `jump`.
    jumps: u64,
    alarms: Vec<Waker>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let hands = Hands {
            now,
            ..Hands::default()
        };
        Self(Arc::new(Mutex::new(hands)))
    }

    /// Advances the time to `now`.
    pub fn set(&self, now: Timestamp) {
        self.change(|hands| {
            hands.steady += now.since(hands.now);
            hands.now = now;
        });
    }

    /// Sets the wall clock to `now`, also backwards, without passing time.
    pub fn jump(&self, now: Timestamp) {
        self.change(|hands| {
            hands.jumps += 1;
            hands.now = now;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Hands)) {
        let mut hands = self.hands();
        change(&mut hands);
        let alarms = std::mem::take(&mut hands.alarms);
        drop(hands);
        alarms.into_iter().for_each(Waker::wake);
    }

    /// Advances by `span`.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().after(span));
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands().now
    }

    fn now_and_steady(&self) -> (Timestamp, Duration) {
        let hands = self.hands();
        (hands.now, hands.steady)
    }

    fn alarm(&self, at: Timestamp) -> Option<BoxFuture<()>> {
        let clock = self.clone();
        let jumps = self.hands().jumps;
        Some(Box::pin(poll_fn(move |context| {
            let mut hands = clock.hands();
            if hands.now >= at || hands.jumps > jumps {
                return Poll::Ready(());
            }
            hands.alarms.push(context.waker().clone());
            Poll::Pending
        })))
    }
}
