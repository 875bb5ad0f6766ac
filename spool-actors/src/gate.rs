//! Whether a spool would take mail now, asked from any thread without a message to the actor.

use crate::errors::{RETRY_AFTER, add_error};
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
    /// Weak: who only looks does not keep the spool open.
    store: Weak<Store>,
    budget: Budget,
    supervision: Supervision,
    /// Whether the queue has all that was there at the start, or will never have it.
    loaded: Arc<AtomicBool>,
    writing: DiskWork,
}

/// When the writer thread began what it does on disk now, if it does anything. Cloning shares it.
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

    /// Where the writer thread tells of its work.
    pub(crate) fn writing(&self) -> DiskWork {
        self.writing.clone()
    }

    /// For how long the disk has not answered the writer thread; `None`: it waits for nothing. Whoever adds mail meanwhile waits.
    #[must_use]
    pub fn disk_busy_for(&self) -> Option<Duration> {
        let begun = *self.writing.begun();
        begun.map(|begun| begun.elapsed())
    }

    /// Whether an add of `size` bytes would be taken now. It promises nothing about the next moment.
    ///
    /// # Errors
    /// What the add would answer.
    pub fn admit(&self, size: u64) -> Result<(), AddError> {
        if self.supervision.is_over() {
            return Err(self.supervision.add_error());
        }
        let store = self.store.upgrade().ok_or(AddError::Killed)?;
        store.admit(size).map_err(add_error)?;
        if self.budget.has_room(size.saturating_add(ONE_ENVELOPE)) && self.budget.may_stand() {
            Ok(())
        } else {
            Err(AddError::Busy {
                retry_after: RETRY_AFTER,
            })
        }
    }

    /// How far the loading of what was there at the start has come; `None`: the queue has all of it, or the spool has
    /// ended. The store has read everything before the queue has it: what the queue is asked meanwhile is not complete.
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

    /// The ledger that all mail in memory is charged to. What holds mail on its way to the spool, or shows it, takes its share
    /// from here: [`Budget::hold`] for what arrives, [`Budget::look`] for what is shown.
    #[must_use]
    pub const fn memory(&self) -> &Budget {
        &self.budget
    }

    /// Bytes of mail held in memory, with the index of waiting messages.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// The queue has all of it, or loading has failed.
    pub(crate) fn loading_is_over(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Why the spool has ended; `None`: it works.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.supervision.ending()
    }
}
