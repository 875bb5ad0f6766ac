//! What an open store holds of its directory: the locks on it; and whether its files are still where their names say.
//!
//! A file that was deleted or replaced takes writes and syncs without an error, and all of it is lost with the last handle. A
//! directory that was moved away leaves its place to another spool. Nothing on the way of mail would notice either, so it is
//! looked for: the link count and the size of the segment that is written at each commit (by the writer), everything else by
//! [`Store::check_files`], which its owner calls about twice a second. Nothing is changed here.

use super::dir::{self, Claim};
use super::error::{Failure, OpenError};
use super::fs::{Fs, FsDir, FsFile, Identity};
use super::replay::io_error;
use super::segment::{self, Seq};
use super::writer::Trouble;
use super::{Store, StoreError, locked};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    dir: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    journal: Arc<dyn FsDir>,
    /// What each segment was when it was first seen.
    segments: BTreeMap<Seq, Identity>,
    claim: Claim,
}

impl Held {
    /// Holds the spool in `dir`, which was claimed.
    pub(super) fn new(fs: &dyn Fs, dir: &Path, claim: Claim) -> Result<Self, OpenError> {
        let journal = dir.join(dir::JOURNAL);
        let journal = fs.open_dir(&journal).map_err(io_error("open", &journal))?;
        Ok(Self {
            dir: dir.to_owned(),
            open: Mutex::new(Some(Open {
                journal,
                segments: BTreeMap::new(),
                claim,
            })),
        })
    }

    /// Gives the directory free.
    pub(super) fn close(&self) {
        drop(locked(&self.open).take());
    }
}

impl Store {
    /// Looks whether the lock, the directories and every segment are still what was opened, and whether they can be written.
    /// If not, the store takes no change any more. A few calls of the system for each segment; meant for a thread that
    /// nobody waits for.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with what is gone.
    pub fn check_files(&self) -> Result<(), StoreError> {
        if let Some(failure) = self.failed.get() {
            return Err(StoreError::Failed(failure.to_string()));
        }
        let taken = self.taken();
        let taken = taken
            .or_else(|| self.taken_segment())
            .or_else(|| self.cut_segment());
        match taken {
            None => Ok(()),
            Some(text) => Err(StoreError::Failed(
                self.fail(Failure::FilesTaken(text)).to_string(),
            )),
        }
    }

    /// What is gone of the directory, the lock and the journal's directory.
    fn taken(&self) -> Option<String> {
        let held = locked(&self.held.open);
        let open = held.as_ref()?;
        let (fs, dir) = (&*self.fs, &self.held.dir);
        // Followed, if it is a link itself: where it led when it was opened is where it must lead now.
        let spool = open.claim.dir.identity();
        if let Some(how) = lost(spool, fs.identity(&dir.join("."))) {
            return Some(format!("the directory {} {how}", dir.display()));
        }
        if let Some(how) = lost(open.claim.lock.identity(), fs.identity(&dir.join(dir::LOCK_FILE))) {
            return Some(format!("{} {how}", dir::LOCK_FILE));
        }
        // Without it no later start would take the directory for a spool.
        let format = fs.identity(&dir.join(dir::FORMAT_FILE));
        if let Some(how) = lost(Err(io::ErrorKind::Other.into()), format) {
            return Some(format!("{} {how}", dir::FORMAT_FILE));
        }
        if let Some(how) = lost(open.journal.identity(), fs.identity(&self.journal)) {
            return Some(format!("the directory {} {how}", dir::JOURNAL));
        }
        if fs.is_read_only(dir).unwrap_or(false) {
            return Some(format!("the file system of {} became read-only", dir.display()));
        }
        None
    }

    /// The first segment that is gone, or that is another file than before. What the writer and the housekeeping change
    /// meanwhile is looked at again when they do not run.
    fn taken_segment(&self) -> Option<String> {
        // The writer is not held while the disk is asked: a commit would wait.
        let written = locked(&self.writer).held();
        self.lost_segment(&written)?;
        let writer = locked(&self.writer);
        self.lost_segment(&writer.held())
    }

    /// Whether the segment that is written was cut short.
    fn cut_segment(&self) -> Option<String> {
        match locked(&self.writer).still_whole() {
            Err(Trouble::Failed(Failure::FilesTaken(text))) => Some(text),
            Err(_) | Ok(()) => None,
        }
    }

    fn lost_segment(&self, written: &[(Arc<dyn FsFile>, PathBuf)]) -> Option<String> {
        for (file, path) in written {
            if let Some(how) = lost(file.identity(), self.fs.identity(path)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                return Some(format!("{}/{name} {how}", dir::JOURNAL));
            }
        }
        let mut held = locked(&self.held.open);
        let known = &mut held.as_mut()?.segments;
        let mut at = Bound::Unbounded;
        let mut seen = BTreeMap::new();
        while let Some(seq) = locked(&self.index).next_segment(at) {
            at = Bound::Excluded(seq);
            let found = self.fs.identity(&segment::path(&self.journal, seq));
            let before = known.get(&seq).copied();
            let expected = before.map_or_else(|| Err(io::ErrorKind::Other.into()), Ok);
            if let Some(how) = lost(expected, found.as_ref().copied().map_err(again)) {
                return Some(format!("{}/{} {how}", dir::JOURNAL, segment::name(seq)));
            }
            if let Some(identity) = before.or(found.ok()) {
                seen.insert(seq, identity);
            }
        }
        *known = seen;
        None
    }
}

fn again(error: &io::Error) -> io::Error {
    error.kind().into()
}

/// How a name no longer leads to what it did; `None`: it does, or the system does not say.
fn lost(held: io::Result<Identity>, found: io::Result<Identity>) -> Option<&'static str> {
    match (held, found) {
        (_, Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Some("was deleted or moved")
        }
        (Ok(held), Ok(found)) if !held.is_same(&found) => Some("was replaced"),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    }
}
