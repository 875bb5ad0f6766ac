//! Where a test has a part of the spool panic. Release builds have no such place.

use super::Part;
use std::sync::{Arc, Mutex, PoisonError};

/// Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Failpoint(Arc<Mutex<Option<Part>>>);

impl Failpoint {
    /// Has `part` panic the next time that it works.
    pub(super) fn arm(&self, part: Part) {
        *self.armed() = Some(part);
    }

    /// Panics if `part` was told to, once.
    pub(super) fn reached(&self, part: Part) {
        let told = self.armed().take_if(|armed| *armed == part);
        assert!(told.is_none(), "told to panic");
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, Option<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
