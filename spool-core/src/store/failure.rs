//! The end of a store: why it takes no change any more, and who is called then.
//!
//! The first failure is kept; later ones do not replace it. The owner of the store decides what to do about it.

use super::error::{Failure, StoreError};
use std::sync::OnceLock;

/// Called once, on the thread that found the failure.
type FailureHandler = Box<dyn Fn(&Failure) + Send + Sync>;

/// The first failure, and the function to call with it.
#[derive(derive_more::Debug, Default)]
pub(super) struct Failures {
    first: OnceLock<Failure>,
    #[debug(skip)]
    report: OnceLock<FailureHandler>,
}

impl Failures {
    /// The failure, once there was one.
    pub(super) fn get(&self) -> Option<&Failure> {
        self.first.get()
    }

    /// An error once there was a failure.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.first.get().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Accepts no more changes: notes the failure and reports it, if it is the first one; returns the first one. The function
    /// given to [`Store::on_failure`](super::Store::on_failure) runs on this thread, before any caller gets a result.
    pub(super) fn fail(&self, failure: Failure) -> &Failure {
        let mut is_first = false;
        let failure = self.first.get_or_init(|| {
            is_first = true;
            failure
        });
        if is_first {
            if matches!(failure, Failure::Disk(_)) {
                tracing::error!(reason = %failure, "the disk failed: the spool takes no change until it is started again");
            }
            if let Some(report) = self.report.get() {
                report(failure);
            }
        }
        failure
    }

    /// See [`Store::on_failure`](super::Store::on_failure).
    pub(super) fn on_failure(&self, report: FailureHandler) {
        if self.report.set(report).is_ok()
            && let (Some(failure), Some(report)) = (self.first.get(), self.report.get())
        {
            // A failure at this moment may be reported twice.
            report(failure);
        }
    }

    /// Ends the store without a report.
    pub(super) fn close(&self) {
        let _ = self.first.set(Failure::Closed);
    }
}
