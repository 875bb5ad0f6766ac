//! The checkup of a spool that nobody holds: every segment, every live message with its body, both shelves and both logs.
//!
//! It holds the spool's lock while it looks, and closes the directory to others. Without `repair` it changes nothing else. With it, it keeps every intact message and
//! copies every byte that it takes away into `corrupt/` first, but for what was never answered or was being deleted; each
//! thing it does stands in `corrupt/repairs.jsonl` before it is done.

mod archives;
mod examined;
mod journal;
mod logs;
mod repair;
mod step;

pub use examined::Checkup;
pub use repair::Repair;

use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::dir::{self, DirLock};
use crate::store::error::OpenError;
use crate::store::fs::{Fs, RealFs};
use crate::store::journal::replay::{self, Logged, Patience};
use crate::store::layout::JOURNAL;
use examined::Examined;
use std::path::Path;
use std::sync::Arc;

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
        // Under their right names, their messages count.
        examined.mend_names()?;
    }
    let seqs = examined.own_segments(&journal)?;
    let mut replay = replay::replay(&*fs, &journal, &seqs, Logged::all(), Patience::None, &mut |_| {
        true
    })?;
    examined.journal(&journal, &replay)?;
    let lost = examined.messages(&journal, &mut replay, progress);
    let live = |id: MessageId| replay.index.get(id).is_some() && !lost.contains(&id);
    examined.archives(&live)?;
    examined.logs()?;
    if repair {
        examined.mend(&replay, &live)?;
    }
    Ok(examined.found)
}
