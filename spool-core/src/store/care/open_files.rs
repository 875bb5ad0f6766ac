//! The files and directories that an open store holds open, and a check that their names still lead to them.
//!
//! Writing and syncing a file that was deleted or replaced gives no error, and the data is lost with the last handle.
//! In place of a directory that was moved there may be another spool. So the writer checks the link count and the size
//! of the head segment at each commit, and [`Store::check_files`](crate::store::Store::check_files), which the owner
//! calls about twice a second, checks everything else. Nothing is changed here.

use crate::store::dir::DirLock;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Fs, FsFile, Identity};
use crate::store::journal::index::Index;
use crate::store::layout::{self, Seq};
use crate::store::mutex::locked;
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The open files of a store.
#[derive(Debug)]
pub(in crate::store) struct OpenFiles {
    dir: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    journal: Arc<dyn FsFile>,
    /// The identity of each segment when it was first seen.
    segments: BTreeMap<Seq, Identity>,
    lock: DirLock,
}

impl OpenFiles {
    /// Opens the journal's directory of the spool in `dir`, which is locked.
    pub(in crate::store) fn new(fs: &dyn Fs, dir: &Path, lock: DirLock) -> Result<Self, OpenError> {
        let journal = dir.join(layout::JOURNAL);
        let journal = fs.open_dir(&journal).on("open", &journal)?;
        Ok(Self {
            dir: dir.to_owned(),
            open: Mutex::new(Some(Open {
                journal,
                segments: BTreeMap::new(),
                lock,
            })),
        })
    }

    /// Releases the lock on the directory.
    pub(in crate::store) fn close(&self) {
        drop(locked(&self.open).take());
    }

    /// What happened to the directory, the lock, FORMAT or the journal's directory, if one of them is not what was
    /// opened.
    pub(in crate::store) fn lost(&self, fs: &dyn Fs) -> Option<String> {
        let open = locked(&self.open);
        let open = open.as_ref()?;
        let dir = &self.dir;
        let inside = [
            // The path of the spool may be a link, and must lead to the directory that was opened.
            (
                format!("the directory {}", dir.display()),
                ".",
                open.lock.dir.identity().ok(),
            ),
            (
                layout::LOCK.to_owned(),
                layout::LOCK,
                open.lock.file.identity().ok(),
            ),
            // Without FORMAT, no later start would take the directory for a spool.
            (layout::FORMAT.to_owned(), layout::FORMAT, None),
            (
                format!("the directory {}", layout::JOURNAL),
                layout::JOURNAL,
                open.journal.identity().ok(),
            ),
        ];
        for (what, name, held) in inside {
            if let Some(how) = lost(held, &fs.identity(&dir.join(name))) {
                return Some(format!("{what} {how}"));
            }
        }
        let read_only = fs.is_read_only(dir).unwrap_or(false);
        read_only.then(|| format!("the file system of {} became read-only", dir.display()))
    }

    /// What happened to the first file in `written` or segment in `index` that is not the same file any more.
    pub(in crate::store) fn lost_segment(
        &self,
        fs: &dyn Fs,
        index: &Mutex<Index>,
        written: &[(Arc<dyn FsFile>, PathBuf)],
    ) -> Option<String> {
        for (file, path) in written {
            if let Some(how) = lost(file.identity().ok(), &fs.identity(path)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                return Some(format!("{}/{name} {how}", layout::JOURNAL));
            }
        }
        let journal = self.dir.join(layout::JOURNAL);
        let mut open = locked(&self.open);
        let known = &mut open.as_mut()?.segments;
        let mut at = Bound::Unbounded;
        let mut seen = BTreeMap::new();
        while let Some(seq) = locked(index).next_segment(at) {
            at = Bound::Excluded(seq);
            let found = fs.identity(&layout::segment_path(&journal, seq));
            let before = known.get(&seq).copied();
            if let Some(how) = lost(before, &found) {
                return Some(format!("{} {how}", layout::segment_file(seq)));
            }
            if let Some(identity) = before.or(found.ok()) {
                seen.insert(seq, identity);
            }
        }
        *known = seen;
        None
    }
}

/// What happened to a file, if its name does not lead to it any more; `None` also if the system does not say.
fn lost(held: Option<Identity>, found: &io::Result<Identity>) -> Option<&'static str> {
    match (held, found.as_ref().map_err(io::Error::kind)) {
        (_, Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)) => Some("was deleted or moved"),
        (Some(held), Ok(found)) if !held.is_same(found) => Some("was replaced"),
        (Some(_) | None, Ok(_) | Err(_)) => None,
    }
}
