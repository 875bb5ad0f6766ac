//! What the spool has promised, kept as simply as can be.

use spool_core::MessageId;
use std::collections::{BTreeMap, BTreeSet};

/// Dice of a history: xorshift64*, so that a seed plays the same choices again.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

/// Where a person has put a message, as far as that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the spool; whether it is frozen is for the spool to decide.
    Spool,
    /// Frozen by a person; only a delivery that was under way may have ended it.
    Frozen,
    Removed,
    Quarantine,
    Purged,
    /// An operation was cut off: before or after it.
    Unknown,
}

/// A message whose add was answered.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    /// Addresses, each of them in one message only when it is added.
    pub(crate) recipients: Vec<String>,
    pub(crate) body: String,
    pub(crate) place: Place,
}

/// Everything that was answered.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) messages: BTreeMap<MessageId, Promise>,
    /// The ids that each idempotency key was answered with.
    pub(crate) keys: BTreeMap<String, Vec<MessageId>>,
    /// Keys of adds that were not answered: their mail may be on the spool or not.
    pub(crate) doubtful: BTreeSet<String>,
}
