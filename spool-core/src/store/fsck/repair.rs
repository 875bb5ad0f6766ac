//! The repair: first every byte that is to go is copied to `corrupt/`, then the report says what will be done, and both
//! last; only then something is changed. A crash in between is mended by the next repair, in the same way. The names of segments
//! are mended first, in a step of their own: what is in them depends on it.

use super::{Ailment, Examined};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::store::OpenError;
use crate::store::dir::CORRUPT;
use crate::store::fs::{Fs, FsFile, Mode};
use crate::store::lines::{self, Part};
use crate::store::recovery::{self, Copy};
use crate::store::replay::{Replay, io_error};
use crate::store::shelf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The report's name in `corrupt/`.
pub(super) const REPORT: &str = "repairs.jsonl";

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

/// How something is mended.
#[derive(Debug)]
pub(super) enum Act {
    /// The bytes are covered or cut, as a start does it.
    Journal(Option<Copy>),
    /// The pair goes, as a start does it.
    Shelf(Option<Copy>),
    /// The file is taken away.
    Unlink { path: PathBuf, copy: Option<Copy> },
    /// The file gets its right name.
    Rename { from: PathBuf, to: PathBuf },
    /// The file is written anew without these bytes.
    Rewrite { dir: PathBuf, part: Part, copy: Copy },
}

/// One thing to be mended.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) ailment: Ailment,
    pub(super) file: String,
    pub(super) what: String,
    pub(super) act: Act,
}

/// What is to be mended.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

impl Act {
    const fn copy(&self) -> Option<&Copy> {
        match self {
            Self::Rewrite { copy, .. } => Some(copy),
            Self::Journal(copy) | Self::Shelf(copy) | Self::Unlink { copy, .. } => copy.as_ref(),
            Self::Rename { .. } => None,
        }
    }

    fn done(&self) -> String {
        match self {
            Self::Journal(Some(_)) => "set aside".to_owned(),
            Self::Journal(None) => "noted; nothing is there to be set aside".to_owned(),
            Self::Shelf(_) => "taken off the shelf".to_owned(),
            Self::Unlink { .. } => "taken away".to_owned(),
            Self::Rename { to, .. } => {
                let name = to.file_name().unwrap_or_default();
                format!("renamed to {}", name.to_string_lossy())
            }
            Self::Rewrite { .. } => "written anew without these bytes".to_owned(),
        }
    }
}

/// A copy of a whole file.
pub(super) fn whole(fs: &dyn Fs, dir: &Path, file: &str) -> Result<Copy, OpenError> {
    let source = dir.join(file);
    let opened = fs.open(&source, Mode::Read);
    let length = opened.and_then(|file| file.size());
    Ok(Copy {
        length: length.map_err(io_error("read", &source))?,
        name: file.replace('/', "-"),
        offset: 0,
        source,
    })
}

impl Examined<'_> {
    /// Mends the names of segments, before anything in them is read.
    pub(super) fn mend_names(&mut self) -> Result<(), OpenError> {
        let steps = std::mem::take(&mut self.plan).steps;
        self.set_aside(&steps)?;
        self.act(&steps)
    }

    /// Mends all the rest.
    pub(super) fn mend(
        &mut self,
        replay: &Replay,
        live: &dyn Fn(MessageId) -> bool,
    ) -> Result<(), OpenError> {
        let steps = std::mem::take(&mut self.plan).steps;
        if steps.is_empty() {
            return Ok(());
        }
        self.set_aside(&steps)?;
        recovery::repair(&**self.fs, self.dir, replay)?;
        self.act(&steps)?;
        shelf::tidy(&**self.fs, self.dir, live).map_err(io_error("tidy the shelves of", self.dir))
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
            report(&**self.fs, &corrupt, &repairs).map_err(io_error("write", &corrupt.join(REPORT)))?;
            self.fs.sync_dir(&corrupt).map_err(io_error("sync", &corrupt))?;
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
                Act::Journal(_) | Act::Shelf(_) => continue,
                Act::Unlink { path, .. } => (path, unlink(fs, path)),
                Act::Rename { from, to } => (from, fs.rename(from, to)),
                // Once for all that is wrong in the file.
                Act::Rewrite { dir, part, .. } => match rewritten.insert((dir, part.number)) {
                    true => (dir, lines::rewrite(fs, dir, *part).map(drop)),
                    false => continue,
                },
            };
            done.map_err(io_error("mend", path))?;
            let parent = path.parent().unwrap_or(path);
            fs.sync_dir(parent).map_err(io_error("sync", parent))?;
        }
        Ok(())
    }
}

fn unlink(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Appends to the report, durably.
fn report(fs: &dyn Fs, corrupt: &Path, repairs: &[Repair]) -> io::Result<()> {
    let path = corrupt.join(REPORT);
    let file: Arc<dyn FsFile> = match fs.open(&path, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs.open(&path, Mode::Write)?,
        opened => opened?,
    };
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
