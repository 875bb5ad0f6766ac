//! Whether a spool would take mail now, asked from any thread without a message to the actor.

use crate::errors::add_error;
use crate::supervision::{Ending, Supervision};
use spool_core::store::{Progress, Store};
use spool_core::{AddError, Budget};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What a message costs in memory beside its body, with a recipient or two.
const ONE_ENVELOPE: u64 = 4096;

/// A view on a spool's limits.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Weak, so that a gate does not keep the spool open.
    store: Weak<Store>,
    budget: Budget,
    supervision: Supervision,
    /// Whether loading is over: the queue has all messages from before, or loading has failed.
    loaded: Arc<AtomicBool>,
    /// What the writer thread reports its work to.
    pub(crate) writing: DiskWork,
}

/// When the writer thread started its present work on disk, if it does any. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskWork(Arc<Mutex<Option<Instant>>>);

impl DiskWork {
    fn begun(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begins(&self) {
        *self.begun() = Some(Instant::now());
    }

    pub(crate) fn ends(&self) {
        *self.begun() = None;
    }
}

impl Gate {
    pub(crate) fn new(store: Weak<Store>, budget: Budget, supervision: Supervision) -> Self {
        Self {
            store,
            budget,
            supervision,
            loaded: Arc::new(AtomicBool::new(false)),
            writing: DiskWork::default(),
        }
    }

    /// How long the writer thread has been waiting for the disk; `None`: it is not waiting. Adds wait meanwhile.
    #[must_use]
    pub fn disk_busy_for(&self) -> Option<Duration> {
        let begun = *self.writing.begun();
        begun.map(|begun| begun.elapsed())
    }

    /// Checks whether an add of `size` bytes would be accepted at present. A later add may still be refused.
    ///
    /// # Errors
    /// The error that the add would answer.
    pub fn admit(&self, size: u64) -> Result<(), AddError> {
        if self.supervision.is_over() {
            return Err(self.supervision.add_error());
        }
        let store = self.store.upgrade().ok_or(AddError::Killed)?;
        store.admit(size).map_err(add_error)?;
        if self.budget.has_room(size.saturating_add(ONE_ENVELOPE)) && self.budget.may_stand() {
            Ok(())
        } else {
            Err(AddError::Busy)
        }
    }

    /// The progress of loading the messages that were on disk at the start; `None`: the queue has all of them, or the spool has ended. The
    /// store has read all of them before the queue has them, so the queue is incomplete until then.
    #[must_use]
    pub fn loading(&self) -> Option<Progress> {
        if self.loaded.load(Ordering::Acquire) {
            return None;
        }
        Some(self.store.upgrade()?.progress())
    }

    /// How many damaged places on disk the scrub knows of.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.store
            .upgrade()
            .map_or(0, |store| store.scrub_findings().len())
    }

    /// The ledger that all mail in memory is charged to. Code that holds mail outside the spool charges it here:
    /// [`Budget::hold`] for mail that arrives, [`Budget::look`] for mail that is shown.
    #[must_use]
    pub const fn memory(&self) -> &Budget {
        &self.budget
    }

    /// The queue has all of it, or loading has failed.
    pub(crate) fn loading_is_over(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Why the spool has ended; `None`: it has not.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.supervision.ending()
    }
}
