//! Loading: what is still to be read after a start, and how far reading has come.

use super::layout::Seq;
use super::types::{Damage, LoggedKeys};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of journal that were read.
    pub read: u64,
    /// Bytes of journal in all.
    pub total: u64,
}

impl Progress {
    /// The same in percent, 100 only at the end.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.read.saturating_mul(100))
            .checked_div(self.total)
            .unwrap_or(0)
            .min(99)
    }
}

/// What is still to be loaded, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct Loading {
    pub(super) pending: Mutex<Option<Pending>>,
    pub(super) total: u64,
    pub(super) read: AtomicU64,
    pub(super) over: AtomicBool,
    pub(super) cancelled: AtomicBool,
}

/// What the first step leaves to the second.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) seqs: Vec<Seq>,
    /// Events up to this number need not be told again.
    pub(super) logged_events: u64,
    pub(super) logged_keys: LoggedKeys,
    pub(super) torn_bytes: u64,
    pub(super) damage: Vec<Damage>,
}
