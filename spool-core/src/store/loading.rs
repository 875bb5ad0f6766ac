//! Loading: what is still to be read after a start, and the progress of reading.

use super::journal::replay::Logged;
use super::layout::Seq;
use super::types::Damage;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Progress of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the journal that were read.
    pub read: u64,
    /// Bytes of the journal in total.
    pub total: u64,
}

impl Progress {
    /// In percent; 100 only when loading is complete.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.read.saturating_mul(100))
            .checked_div(self.total)
            .unwrap_or(0)
            .min(99)
    }
}

/// What is still to be loaded, and the progress.
#[derive(Debug, Default)]
pub(super) struct Loading {
    pub(super) pending: Mutex<Option<Pending>>,
    pub(super) total: u64,
    pub(super) read: AtomicU64,
    pub(super) over: AtomicBool,
    pub(super) cancelled: AtomicBool,
}

/// What the first step of opening leaves to the second.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) seqs: Vec<Seq>,
    pub(super) logged: Logged,
    pub(super) torn_bytes: u64,
    pub(super) damage: Vec<Damage>,
}
