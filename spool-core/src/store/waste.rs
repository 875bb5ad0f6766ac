//! Segments whose names are gone and whose space is still to be freed.
//!
//! A file's space is freed when its last handle is closed, and for 64 MiB that takes many times as long as a sync. So the
//! handle is kept here until somebody has time. It never keeps more than a few.

use super::fs::FsFile;
use std::sync::{Arc, Mutex, PoisonError};

/// More of them are closed at once.
const MAX_KEPT: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waste(Mutex<Vec<Arc<dyn FsFile>>>);

impl Waste {
    /// Keeps a handle on a file that is about to lose its name.
    pub(super) fn keep(&self, file: Option<Arc<dyn FsFile>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.extend(file);
        }
    }

    /// Closes all of them.
    pub(super) fn empty(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Not behind the lock: this is what takes long.
        drop(kept);
    }
}
