//! The checkup of a spool that no service runs on: every segment, every live message with its body, both archives and
//! both logs.
//!
//! It holds the spool's lock, and removes the permissions of other users on the directory. Without `repair` it changes
//! nothing else. A repair keeps every intact message and copies every byte that it deletes to `corrupt/` first, except
//! for torn ends and incomplete deletions. It records each action in `corrupt/repairs.jsonl` before it takes it.

mod archives;
mod examined;
mod journal;
mod logs;
mod repair;

pub use examined::Checkup;

use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::dir::{self, DirLock};
use crate::store::error::OpenError;
use crate::store::fs::{Fs, RealFs};
use crate::store::journal::replay;
use crate::store::layout::{JOURNAL, Seq};
use examined::Examined;
use std::path::Path;
use std::sync::Arc;

/// Checks the spool in `dir` as of `now`, and repairs it if `repair` is set. Calls `progress` for each message.
///
/// # Errors
/// [`OpenError`]: the directory is in use, is not a spool, or cannot be read or written. A repair that cannot copy what
/// it deletes, or cannot write its report, has changed nothing but the names of misnamed segments.
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
    // A directory that is not a spool must not become one by being checked.
    dir::check(&*fs, dir)?;
    let _lock = DirLock::acquire(&*fs, dir)?;
    let mut examined = Examined {
        fs: &fs,
        dir,
        now,
        found: Checkup::default(),
        plan: Vec::new(),
    };
    let journal = dir.join(JOURNAL);
    examined.misnamed(&journal)?;
    if repair {
        // With the right name, the segment's messages count.
        examined.repair_names()?;
    }
    let segments = examined.segments(&journal)?.into_iter();
    let own = segments.filter_map(|(seq, other)| other.is_none().then_some(seq));
    let seqs: Vec<Seq> = own.collect();
    let mut replay = replay::look(&*fs, &journal, &seqs)?;
    examined.journal(&journal, &replay)?;
    let lost = examined.messages(&journal, &mut replay, progress);
    let live = |id: MessageId| replay.index.get(id).is_some() && !lost.contains(&id);
    examined.archives(&live)?;
    examined.logs()?;
    if repair {
        examined.repair(&replay, &live)?;
    }
    Ok(examined.found)
}
