//! Segments whose names are gone and whose space is still to be freed.
//!
//! A file's space is freed when its last handle is closed, and for 64 MiB that takes many times as long as a sync. So the
//! handle is kept here until somebody has time. It never keeps more than a few.

use crate::store::fs::FsFile;
use crate::store::mutex::locked;
use std::sync::{Arc, Mutex};

/// More of them are closed at once.
const MAX_KEPT: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::store) struct PendingDeletion(Mutex<Vec<Arc<dyn FsFile>>>);

impl PendingDeletion {
    /// Keeps a handle on a file that is about to lose its name.
    pub(in crate::store) fn keep(&self, file: Option<Arc<dyn FsFile>>) {
        let mut kept = locked(&self.0);
        if kept.len() < MAX_KEPT {
            kept.extend(file);
        }
    }

    /// Closes all of them.
    pub(in crate::store) fn empty(&self) {
        let kept = std::mem::take(&mut *locked(&self.0));
        // Not behind the lock: this is what takes long.
        drop(kept);
    }
}
