//! A spool that is being examined: the problems found so far, and the steps of a repair.

use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::care::finding::{Finding, ProblemKind, Repair};
use crate::store::care::recovery::Copy;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Fs, Mode, is_shortage};
use crate::store::layout;
use crate::store::logs::lines::LogFile;
use std::io;
use std::path::{Path, PathBuf};
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

/// How a problem is repaired.
#[derive(Debug)]
pub(super) enum Act {
    /// The bytes are covered or cut off, as at a start.
    Journal,
    /// The pair is deleted, as at a start.
    Archive,
    /// The file is deleted.
    Unlink(PathBuf),
    /// The file is renamed.
    Rename { from: PathBuf, to: PathBuf },
    /// The file is rewritten without the bytes of the copy.
    Rewrite { dir: PathBuf, part: LogFile },
}

/// One problem and its repair.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) finding: Finding,
    pub(super) act: Act,
    /// What is copied before.
    pub(super) copy: Option<Copy>,
}

impl Step {
    pub(super) fn done(&self) -> String {
        let done = match &self.act {
            Act::Journal if self.copy.is_some() => "copied and covered",
            Act::Journal => "noted; there is nothing to copy",
            Act::Archive => "deleted from the archive",
            Act::Unlink(_) => "deleted",
            Act::Rename { to, .. } => {
                let name = to.file_name().unwrap_or_default();
                return format!("renamed to {}", name.to_string_lossy());
            }
            Act::Rewrite { .. } => "rewritten without these bytes",
        };
        done.to_owned()
    }
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
    /// Notes a problem, and how `--repair` can repair it, with what is copied before.
    pub(super) fn note(
        &mut self,
        problem: ProblemKind,
        file: String,
        id: Option<MessageId>,
        what: String,
        repair: Option<(Act, Option<Copy>)>,
    ) {
        let finding = Finding {
            problem,
            file,
            id,
            what,
            repairable: repair.is_some(),
        };
        self.found.findings.push(finding.clone());
        self.plan
            .extend(repair.map(|(act, copy)| Step { finding, act, copy }));
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
            Err(error) if is_shortage(&error) => Err(OpenError::io("read", path, error)),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.note(ProblemKind::Damaged, file.to_owned(), None, what, None);
                Ok(None)
            }
        }
    }

    /// The copy to make of a whole file.
    pub(super) fn whole(&self, file: &str) -> Result<Copy, OpenError> {
        let source = self.dir.join(file);
        let opened = self.fs.open(&source, Mode::Read);
        let length = opened.and_then(|file| file.size());
        Ok(Copy {
            length: length.on("read", &source)?,
            name: layout::file_copy_name(file),
            offset: 0,
            source,
        })
    }
}
