//! The repair: first every byte to be deleted is copied to `corrupt/`, then the report is written, both durably; then
//! the files are changed.
//!
//! After a crash the next repair does the same. Segments are renamed first, in a step of their own, because their
//! frames depend on it.

use super::examined::{Act, Examined, Step};
use crate::id::MessageId;
use crate::store::archive;
use crate::store::care::finding::Repair;
use crate::store::care::recovery;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Fs, ops};
use crate::store::journal::replay::Replay;
use crate::store::layout::{CORRUPT, REPAIRS};
use crate::store::logs::lines;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

impl Examined<'_> {
    /// Repairs the names of segments, before their frames are read.
    pub(super) fn repair_names(&mut self) -> Result<(), OpenError> {
        let steps = std::mem::take(&mut self.plan);
        self.set_aside(&steps)?;
        self.act(&steps)
    }

    /// Repairs everything else.
    pub(super) fn repair(
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
        archive::tidy(&**self.fs, self.dir, live).on("clean up the archives of", self.dir)
    }

    /// Copies what will be deleted, and writes the report.
    fn set_aside(&mut self, steps: &[Step]) -> Result<(), OpenError> {
        let mut repairs = Vec::with_capacity(steps.len());
        for step in steps {
            let copy = step.copy.as_ref();
            let kept = copy.map(|copy| recovery::set_aside(&**self.fs, self.dir, copy));
            repairs.push(Repair {
                at: self.now,
                problem: step.finding.problem,
                file: step.finding.file.clone(),
                what: step.finding.what.clone(),
                done: step.done(),
                kept_as: kept.transpose()?.map(|name| format!("{CORRUPT}/{name}")),
            });
        }
        if !repairs.is_empty() {
            let corrupt = self.dir.join(CORRUPT);
            report(&**self.fs, &corrupt, &repairs).on("write", &corrupt.join(REPAIRS))?;
            self.fs.sync_dir(&corrupt).on("sync", &corrupt)?;
        }
        self.found.repairs.extend(repairs);
        Ok(())
    }

    /// Takes the actions that a start does not take by itself.
    fn act(&self, steps: &[Step]) -> Result<(), OpenError> {
        let fs = &**self.fs;
        let mut rewritten = BTreeSet::new();
        for step in steps {
            let (path, done) = match &step.act {
                Act::Journal | Act::Archive => continue,
                Act::Unlink(path) => (path, ops::remove(fs, path)),
                Act::Rename { from, to } => (from, fs.rename(from, to)),
                // Once for all problems in the file.
                Act::Rewrite { dir, part } => match rewritten.insert((dir, part.number)) {
                    true => (dir, lines::rewrite(fs, dir, *part).map(drop)),
                    false => continue,
                },
            };
            done.on("repair", path)?;
            let parent = path.parent().unwrap_or(path);
            fs.sync_dir(parent).on("sync", parent)?;
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
        // The end of a report whose write was interrupted.
        bytes.push(b'\n');
    }
    for repair in repairs {
        lines::seal(&mut bytes, repair)?;
    }
    let written = file.write_at(size, &bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // None of the reported actions is taken.
        let _ = file.set_len(size);
    }
    written
}
