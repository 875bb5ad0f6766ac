//! The end of a store: why it takes no change any more, who is told, and what is closed.
//!
//! The reason is set once. It is the lowest layer of an end: what follows from it is for the owner of the store to decide.

use super::error::Failure;
use super::index::Index;
use super::{Store, locked};
use std::fmt;

/// Called once, on the thread that found out.
pub(super) struct OnFailure(Box<dyn Fn(&Failure) + Send + Sync>);

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

impl Store {
    /// From now on no change is taken. Whoever asked to be told is told on this thread, before anybody gets an answer.
    pub(super) fn fail(&self, failure: Failure) -> &Failure {
        let mut first = false;
        let failure = self.failed.get_or_init(|| {
            first = true;
            failure
        });
        if first {
            if matches!(failure, Failure::Disk(_)) {
                tracing::error!(reason = %failure, "the disk failed: the spool takes no change any more, until it is started again");
            }
            if let Some(OnFailure(tell)) = self.on_failure.get() {
                tell(failure);
            }
        }
        failure
    }

    /// Has `tell` called when the store fails; at once if it has failed already. Only the first call counts.
    pub fn on_failure(&self, tell: impl Fn(&Failure) + Send + Sync + 'static) {
        if self.on_failure.set(OnFailure(Box::new(tell))).is_ok()
            && let (Some(failure), Some(OnFailure(tell))) = (self.failed.get(), self.on_failure.get())
        {
            // It may be told twice when it fails just now.
            tell(failure);
        }
    }

    /// Takes no change any more: its owner has lost track of what was written, because it panicked.
    pub fn abandon(&self, why: &str) {
        self.fail(Failure::Abandoned(why.to_owned()));
    }

    /// Takes no change any more, closes every file and gives the directory free. Meant for an owner whose handles on the store
    /// live longer than its work; what was answered is on disk.
    pub fn close(&self) {
        let _ = self.failed.set(Failure::Closed);
        locked(&self.writer).close();
        self.reader.close();
        self.events.close();
        self.keys.close();
        self.waste.empty();
        *locked(&self.index) = Index::default();
        // The lock goes last.
        self.held.close();
    }
}
