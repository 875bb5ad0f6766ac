//! How many bytes of mail are held in memory, against a limit. It counts; it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a message costs in memory beside its body: envelope, state, places in queues.
const OVERHEAD: u64 = 2048;

/// A limit on bytes held, shared between threads.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: Arc::new(AtomicU64::new(0)),
            limit,
        }
    }

    /// Takes what a body of `size` bytes costs, if that fits.
    pub(crate) fn hold(&self, size: u64) -> Option<Held> {
        let bytes = size.saturating_add(OVERHEAD);
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        Some(Held {
            budget: self.clone(),
            bytes,
        })
    }

    /// Takes it even beyond the limit: one message must always be deliverable, however large.
    pub(crate) fn hold_regardless(&self, size: u64) -> Held {
        let bytes = size.saturating_add(OVERHEAD);
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Held {
            budget: self.clone(),
            bytes,
        }
    }

    /// Whether a body of `size` bytes would fit now.
    pub(crate) fn has_room(&self, size: u64) -> bool {
        self.used().saturating_add(size).saturating_add(OVERHEAD) <= self.limit
    }

    /// Whether half of it is taken: time to let go of what can be read again.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.limit / 2
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_and_the_limit_holds() {
        let budget = Budget::new(10_000);
        let first = budget.hold(4_000).unwrap();
        assert!(budget.hold(4_000).is_none() && !budget.has_room(4_000) && budget.is_tight());
        let large = budget.hold_regardless(1 << 40);
        drop((first, large));
        assert_eq!(budget.used(), 0);
        assert!(budget.hold(u64::MAX).is_none());
    }
}
