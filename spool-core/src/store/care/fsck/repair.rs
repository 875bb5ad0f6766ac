//! The repair: first every byte that is to go is copied to `corrupt/`, then the report says what will be done, and both
//! last; only then something is changed. A crash in between is mended by the next repair, in the same way. The names of segments
//! are mended first, in a step of their own: what is in them depends on it.

use super::examined::Examined;
use super::step::{Act, Step};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::archive;
use crate::store::care::finding::Ailment;
use crate::store::care::recovery;
use crate::store::error::OpenError;
use crate::store::fs::{Fs, ops};
use crate::store::journal::replay::Replay;
use crate::store::layout::{CORRUPT, REPAIRS};
use crate::store::logs::lines;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// One thing that a repair did: a line of `corrupt/repairs.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Repair {
    /// When.
    pub at: Timestamp,
    /// What was wrong.
    pub ailment: Ailment,
    /// Where, relative to the spool.
    pub file: String,
    /// In one line, what was wrong.
    pub what: String,
    /// In one line, what was done.
    pub done: String,
    /// Where the bytes are now that were taken away, relative to the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

impl Examined<'_> {
    /// Mends the names of segments, before anything in them is read.
    pub(super) fn mend_names(&mut self) -> Result<(), OpenError> {
        let steps = std::mem::take(&mut self.plan);
        self.set_aside(&steps)?;
        self.act(&steps)
    }

    /// Mends all the rest.
    pub(super) fn mend(
        &mut self,
        replay: &Replay,
        live: &dyn Fn(MessageId) -> bool,
    ) -> Result<(), OpenError> {
        let steps = std::mem::take(&mut self.plan);
        if steps.is_empty() {
            return Ok(());
        }
        self.set_aside(&steps)?;
        recovery::repair(&**self.fs, self.dir, replay)?;
        self.act(&steps)?;
        archive::tidy(&**self.fs, self.dir, live).map_err(OpenError::io("tidy the shelves of", self.dir))
    }

    /// Copies what is to go, and writes the report.
    fn set_aside(&mut self, steps: &[Step]) -> Result<(), OpenError> {
        let mut repairs = Vec::with_capacity(steps.len());
        for step in steps {
            let copy = step.act.copy();
            let kept = copy.map(|copy| recovery::set_aside(&**self.fs, self.dir, copy));
            repairs.push(Repair {
                at: self.now,
                ailment: step.ailment,
                file: step.file.clone(),
                what: step.what.clone(),
                done: step.act.done(),
                kept_as: kept.transpose()?.map(|name| format!("{CORRUPT}/{name}")),
            });
        }
        if !repairs.is_empty() {
            let corrupt = self.dir.join(CORRUPT);
            report(&**self.fs, &corrupt, &repairs).map_err(OpenError::io("write", &corrupt.join(REPAIRS)))?;
            self.fs
                .sync_dir(&corrupt)
                .map_err(OpenError::io("sync", &corrupt))?;
        }
        self.found.repairs.extend(repairs);
        Ok(())
    }

    /// What a start does not do by itself.
    fn act(&self, steps: &[Step]) -> Result<(), OpenError> {
        let fs = &**self.fs;
        let mut rewritten = BTreeSet::new();
        for step in steps {
            let (path, done) = match &step.act {
                Act::Journal(_) | Act::Archive(_) => continue,
                Act::Unlink { path, .. } => (path, ops::remove(fs, path)),
                Act::Rename { from, to } => (from, fs.rename(from, to)),
                // Once for all that is wrong in the file.
                Act::Rewrite { dir, part, .. } => match rewritten.insert((dir, part.number)) {
                    true => (dir, lines::rewrite(fs, dir, *part).map(drop)),
                    false => continue,
                },
            };
            done.map_err(OpenError::io("mend", path))?;
            let parent = path.parent().unwrap_or(path);
            fs.sync_dir(parent).map_err(OpenError::io("sync", parent))?;
        }
        Ok(())
    }
}

/// Appends to the report, durably.
fn report(fs: &dyn Fs, corrupt: &Path, repairs: &[Repair]) -> io::Result<()> {
    let path = corrupt.join(REPAIRS);
    let file = ops::open_or_create(fs, &path)?;
    let size = file.size()?;
    let mut bytes = Vec::new();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_at(size - 1, &mut last)?;
    }
    if last != [b'\n'] {
        // The end of a report that was cut off.
        bytes.push(b'\n');
    }
    for repair in repairs {
        lines::seal(&mut bytes, repair)?;
    }
    let written = file.write_at(size, &bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // Nothing of what it says is done.
        let _ = file.set_len(size);
    }
    written
}
