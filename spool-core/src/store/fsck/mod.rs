//! The checkup of a spool that nobody holds: every segment, every live message with its body, both shelves and both logs.
//!
//! It holds the spool's lock while it looks, and closes the directory to others. Without `repair` it changes nothing else. With it, it keeps every intact message and
//! copies every byte that it takes away into `corrupt/` first, but for what was never answered or was being deleted; each
//! thing it does stands in `corrupt/repairs.jsonl` before it is done.

mod journal;
mod logs;
mod repair;
mod shelves;

pub use repair::Repair;

use super::OpenError;
use super::dir::{self, JOURNAL};
use super::fs::{Fs, RealFs, is_shortage};
use super::replay::{self, io_error};
use crate::clock::Timestamp;
use crate::id::MessageId;
use repair::{Act, Plan, Step};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ailment {
    /// Bytes that are not what was written.
    Damaged,
    /// The end of a write that was never answered; the next start drops it.
    Torn,
    /// A file that belongs to nothing.
    Orphaned,
    /// A message that is in two places.
    Duplicated,
    /// A message that waits although its time to be given up has passed. Its next attempt is its last.
    TooOld,
    /// Whole, but not what belongs there: a pair that its checksum or its name does not fit, a segment or a log under
    /// another one's name.
    Mismatched,
    /// A pair on a shelf that cannot be recovered as it is.
    Unreadable,
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Torn => "torn",
            Self::Orphaned => "orphaned",
            Self::Duplicated => "duplicated",
            Self::TooOld => "too old",
            Self::Mismatched => "mismatched",
            Self::Unreadable => "unreadable",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub ailment: Ailment,
    /// Where, relative to the spool.
    pub file: String,
    /// Of which message, if of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// In one line, what.
    pub what: String,
    /// Whether a repair mends it: not what only a person can.
    pub mendable: bool,
}

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

/// Checks the spool in `dir` as of `now`; with `repair` mends what can be mended, then. `progress` is told of each message.
///
/// # Errors
/// [`OpenError`]: the spool is in use, is none, or cannot be read or written. A repair that cannot copy what it takes away,
/// or write its report, has changed nothing but the names of segments that bore another one's.
pub fn checkup(
    dir: &Path,
    now: Timestamp,
    repair: bool,
    progress: &mut dyn FnMut(),
) -> Result<Checkup, OpenError> {
    checkup_on(Arc::new(RealFs), dir, now, repair, progress)
}

/// [`checkup`] on another file system.
///
/// # Errors
/// As [`checkup`].
pub fn checkup_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    now: Timestamp,
    repair: bool,
    progress: &mut dyn FnMut(),
) -> Result<Checkup, OpenError> {
    // A directory that is no spool yet must not become one by a look at it.
    dir::check(&*fs, dir)?;
    let _lock = dir::claim(&*fs, dir)?;
    let mut examined = Examined {
        fs: &fs,
        dir,
        now,
        found: Checkup::default(),
        plan: Plan::default(),
    };
    let journal = dir.join(JOURNAL);
    examined.misnamed(&journal)?;
    if repair {
        // Under their right names, their messages count.
        examined.mend_names()?;
    }
    let seqs = examined.own_segments(&journal)?;
    let mut replay = replay::replay(
        &*fs,
        &journal,
        &seqs,
        replay::Told::all(),
        replay::AT_ONCE,
        &mut |_| true,
    )?;
    examined.journal(&journal, &replay)?;
    let lost = examined.messages(&journal, &mut replay, progress);
    let live = |id: MessageId| replay.index.get(id).is_some() && !lost.contains(&id);
    examined.shelves(&live)?;
    examined.logs()?;
    if repair {
        examined.mend(&replay, &live)?;
    }
    Ok(examined.found)
}

/// A spool that is being examined.
struct Examined<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    now: Timestamp,
    found: Checkup,
    plan: Plan,
}

impl Examined<'_> {
    /// Notes what only a person can mend.
    fn note(&mut self, ailment: Ailment, file: String, id: Option<MessageId>, what: String) {
        self.found.findings.push(Finding {
            ailment,
            file,
            id,
            what,
            mendable: false,
        });
    }

    /// Notes a file that the disk does not give back, or that is none: all the rest is looked at nevertheless.
    fn unless_unreadable<T>(
        &mut self,
        read: io::Result<T>,
        path: &Path,
        file: &str,
    ) -> Result<Option<T>, OpenError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_shortage(&error) => Err(io_error("read", path)(error)),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.note(Ailment::Damaged, file.to_owned(), None, what);
                Ok(None)
            }
        }
    }

    /// Notes what a repair mends with `act`.
    fn note_mendable(
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
        self.plan.steps.push(Step {
            ailment,
            file,
            what,
            act,
        });
    }
}
