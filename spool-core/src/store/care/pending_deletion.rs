//! Segments that are unlinked and whose space is still to be freed.
//!
//! The space of a file is freed when its last handle is closed. For 64 MiB that takes many times as long as a sync, so
//! the handle is kept here until a thread has time. The number of handles is bounded.

use crate::store::fs::FsFile;
use crate::store::mutex::locked;
use std::sync::{Arc, Mutex};

/// Beyond this number, handles are closed at once.
const MAX_KEPT: usize = 64;

/// Handles on unlinked segments.
#[derive(Debug, Default)]
pub(in crate::store) struct PendingDeletion(Mutex<Vec<Arc<dyn FsFile>>>);

impl PendingDeletion {
    /// Keeps a handle on a file that is about to be unlinked.
    pub(in crate::store) fn keep(&self, file: Option<Arc<dyn FsFile>>) {
        let mut kept = locked(&self.0);
        if kept.len() < MAX_KEPT {
            kept.extend(file);
        }
    }

    /// Closes all of them.
    pub(in crate::store) fn empty(&self) {
        let kept = std::mem::take(&mut *locked(&self.0));
        // Closed without the lock, because closing is slow.
        drop(kept);
    }
}
