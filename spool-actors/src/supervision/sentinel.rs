//! A guard that reports a part of the spool which is gone before its time.

use super::{Ending, Part, Supervision};

/// Held by a part for as long as it works. When it is dropped without [`Sentinel::done`], by a panic or because its thread
/// ended, and the spool has not ended yet, the spool ends with [`Ending::Panicked`].
#[derive(Debug)]
#[must_use = "dropping it ends the spool"]
pub struct Sentinel {
    pub(super) supervision: Supervision,
    pub(super) part: Part,
    pub(super) done: bool,
}

impl Sentinel {
    /// The part came to its end in good order.
    pub fn done(mut self) {
        self.done = true;
    }

    /// Where a test has the part panic.
    pub(crate) fn failpoint(&self) {
        self.supervision.failpoint(self.part);
    }

    /// Reports a panic that was caught.
    pub(crate) fn panicked(&self) {
        self.supervision.end(Ending::Panicked(self.part));
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if !self.done {
            self.panicked();
        }
    }
}
