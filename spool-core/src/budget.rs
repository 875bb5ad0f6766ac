//! How many bytes of mail are held in memory, against a limit. It counts; it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a message costs in memory beside its body: envelope, state, places in queues.
const OVERHEAD: u64 = 2048;

/// A limit on bytes held, shared between threads.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// `limit` in bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            used: Arc::new(AtomicU64::new(0)),
            limit,
        }
    }

    /// Takes what a body of `size` bytes costs, if that fits.
    #[must_use]
    pub fn hold(&self, size: u64) -> Option<Held> {
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

    /// The same, and beyond the limit when nothing else is held: a single message must always find room.
    #[must_use]
    pub fn hold_first(&self, size: u64) -> Option<Held> {
        self.hold(size)
            .or_else(|| (self.used() == 0).then(|| self.hold_regardless(size)))
    }

    /// Takes it even beyond the limit: one message must always be deliverable, however large.
    #[must_use]
    pub fn hold_regardless(&self, size: u64) -> Held {
        let bytes = size.saturating_add(OVERHEAD);
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Held {
            budget: self.clone(),
            bytes,
        }
    }

    /// Whether a body of `size` bytes would fit now.
    #[must_use]
    pub fn has_room(&self, size: u64) -> bool {
        self.used().saturating_add(size).saturating_add(OVERHEAD) <= self.limit
    }

    /// Whether half of it is taken: time to let go of what can be read again.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.used() > self.limit / 2
    }

    /// The limit, in bytes.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes held.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

impl Held {
    /// Takes `more` bytes as well, if they fit or nobody else holds any; otherwise nothing changes.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let fits = |used: u64| {
            let sum = used.checked_add(more)?;
            (sum <= self.budget.limit || used == self.bytes).then_some(sum)
        };
        let grown = self
            .budget
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }

    /// Gives all of it back.
    pub fn release(&mut self) {
        self.budget
            .used
            .fetch_sub(std::mem::take(&mut self.bytes), Ordering::AcqRel);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
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
        assert!(budget.hold_first(1).is_none());
        drop((first, large));
        assert_eq!(budget.used(), 0);
        assert!(budget.hold(u64::MAX).is_none());
        let mut alone = budget.hold_first(20_000).unwrap();
        assert!(alone.grow(90_000), "a single one may outgrow the limit");
        assert!(budget.hold_first(1).is_none());
        drop(alone);
        let (mut one, other) = (budget.hold(1_000).unwrap(), budget.hold(1_000).unwrap());
        assert!(!one.grow(9_000) && one.grow(1_000));
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }
}
