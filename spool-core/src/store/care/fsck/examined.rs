//! A spool that is being examined: the problems found so far, and the steps of a repair.

use super::step::{Act, Step};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::care::finding::{Finding, ProblemKind, Repair};
use crate::store::error::OpenError;
use crate::store::fs::{Fs, is_shortage};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The result of a checkup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkup {
    /// Intact live messages.
    pub whole: u64,
    /// Intact archived pairs.
    pub archived: u64,
    /// Every problem, as it was before a repair.
    pub findings: Vec<Finding>,
    /// What a repair did.
    pub repairs: Vec<Repair>,
}

/// A spool that is being examined.
pub(super) struct Examined<'a> {
    pub(super) fs: &'a Arc<dyn Fs>,
    pub(super) dir: &'a Path,
    pub(super) now: Timestamp,
    pub(super) found: Checkup,
    pub(super) plan: Vec<Step>,
}

impl Examined<'_> {
    /// Notes a problem that `--repair` cannot repair.
    pub(super) fn note(&mut self, problem: ProblemKind, file: String, id: Option<MessageId>, what: String) {
        self.found.findings.push(Finding {
            problem,
            file,
            id,
            what,
            repairable: false,
        });
    }

    /// Notes a file that cannot be read or is not a regular file, so that the rest is still checked.
    pub(super) fn unless_unreadable<T>(
        &mut self,
        read: io::Result<T>,
        path: &Path,
        file: &str,
    ) -> Result<Option<T>, OpenError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_shortage(&error) => Err(OpenError::io("read", path)(error)),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.note(ProblemKind::Damaged, file.to_owned(), None, what);
                Ok(None)
            }
        }
    }

    /// Notes a problem that `act` repairs.
    pub(super) fn note_repairable(
        &mut self,
        problem: ProblemKind,
        file: String,
        id: Option<MessageId>,
        what: String,
        act: Act,
    ) {
        self.note(problem, file.clone(), id, what.clone());
        if let Some(finding) = self.found.findings.last_mut() {
            finding.repairable = true;
        }
        self.plan.push(Step {
            problem,
            file,
            what,
            act,
        });
    }
}
