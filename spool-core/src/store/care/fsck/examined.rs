//! A spool that is being examined: what was found so far, and what a repair would do.

use super::repair::Repair;
use super::step::{Act, Step};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::care::finding::{Ailment, Finding};
use crate::store::error::OpenError;
use crate::store::fs::{Fs, is_shortage};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a checkup found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkup {
    /// Live messages that are whole.
    pub whole: u64,
    /// Pairs on the shelves that are whole.
    pub shelved: u64,
    /// Everything that is wrong, as it was before a repair.
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
    /// Notes what only a person can mend.
    pub(super) fn note(&mut self, ailment: Ailment, file: String, id: Option<MessageId>, what: String) {
        self.found.findings.push(Finding {
            ailment,
            file,
            id,
            what,
            mendable: false,
        });
    }

    /// Notes a file that the disk does not give back, or that is none: all the rest is looked at nevertheless.
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
                self.note(Ailment::Damaged, file.to_owned(), None, what);
                Ok(None)
            }
        }
    }

    /// Notes what a repair mends with `act`.
    pub(super) fn note_mendable(
        &mut self,
        ailment: Ailment,
        file: String,
        id: Option<MessageId>,
        what: String,
        act: Act,
    ) {
        self.note(ailment, file.clone(), id, what.clone());
        if let Some(finding) = self.found.findings.last_mut() {
            finding.mendable = true;
        }
        self.plan.push(Step {
            ailment,
            file,
            what,
            act,
        });
    }
}
