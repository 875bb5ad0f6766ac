//! New segments: the spare, which is always prepared ahead, and segments for single frames that are larger.

use super::write_error::{WriteError, failed, refused};
use crate::store::error::{Failure, StoreError};
use crate::store::fs::{Fs, FsFile, Mode};
use crate::store::layout::{self, SPARE, Seq};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long no spare is allocated after a failure.
const SPARE_PAUSE: Duration = Duration::from_millis(100);

/// Creates the files of new segments.
#[derive(Debug)]
pub(in crate::store) struct NewSegments {
    fs: Arc<dyn Fs>,
    journal: PathBuf,
    /// Bytes of a segment.
    size: u64,
    /// The journal's directory, kept open so that its sync needs no descriptor.
    dir: Option<Arc<dyn FsFile>>,
    /// The next segment, kept open for the same reason.
    spare: Option<Arc<dyn FsFile>>,
    failed: Option<(Instant, StoreError)>,
    /// Syncs since the writer counted them.
    pub(super) syncs: u64,
}

impl NewSegments {
    pub(super) const fn new(fs: Arc<dyn Fs>, journal: PathBuf, size: u64) -> Self {
        Self {
            fs,
            journal,
            size,
            dir: None,
            spare: None,
            failed: None,
            syncs: 0,
        }
    }

    /// Why the next segment could not be prepared when it was last tried; `None`: it is ready, or was not needed yet.
    pub(in crate::store) fn refusal(&self) -> Option<&StoreError> {
        self.failed.as_ref().map(|(_, error)| error)
    }

    /// The spare and its path, if it is open.
    pub(super) fn open_spare(&self) -> Option<(Arc<dyn FsFile>, PathBuf)> {
        let spare = self.spare.as_ref()?;
        Some((Arc::clone(spare), self.journal.join(SPARE)))
    }

    /// Closes every file.
    pub(super) fn close(&mut self) {
        (self.dir, self.spare) = (None, None);
    }

    /// The file of segment `seq` with room for `needed` bytes, and its size. Its name is synced. On a refusal nothing has
    /// changed.
    pub(super) fn create(&mut self, seq: Seq, needed: u64) -> Result<(Arc<dyn FsFile>, u64), WriteError> {
        let path = layout::segment_path(&self.journal, seq);
        self.open_dir()?;
        let created = if needed <= self.size {
            let file = self.spare()?;
            // Nothing is unknown yet, and a full disk may have no room for a name.
            self.fs
                .rename(&self.journal.join(SPARE), &path)
                .map_err(|error| refused("no new segment", &error))?;
            self.spare = None;
            (file, self.size)
        } else {
            if u32::try_from(needed).is_err() {
                let text = "a frame is less than 4 GiB".to_owned();
                return Err(StoreError::Invalid(text).into());
            }
            (self.allocate(&path, needed)?, needed)
        };
        self.sync_dir()?;
        Ok(created)
    }

    /// Ends the pause after a failure to prepare the next segment.
    #[cfg(test)]
    pub(in crate::store) fn end_pause(&mut self) {
        if let Some((at, _)) = &mut self.failed {
            *at = at.checked_sub(SPARE_PAUSE).unwrap();
        }
    }

    /// Prepares the next segment; after a failure, not before [`SPARE_PAUSE`].
    pub(in crate::store) fn spare(&mut self) -> Result<Arc<dyn FsFile>, WriteError> {
        if let Some(spare) = &self.spare {
            return Ok(Arc::clone(spare));
        }
        if let Some((at, error)) = &self.failed
            && at.elapsed() < SPARE_PAUSE
        {
            return Err(error.clone().into());
        }
        let path = self.journal.join(SPARE);
        let made = self.open_dir().map_err(WriteError::from).and_then(|()| {
            // An incomplete one of an earlier attempt.
            let _ = self.fs.unlink(&path);
            self.allocate(&path, self.size)
        });
        if let Err(WriteError::Refused(error)) = &made {
            self.failed = Some((Instant::now(), error.clone()));
        }
        let spare = made?;
        self.sync_dir()?;
        self.spare = Some(Arc::clone(&spare));
        self.failed = None;
        Ok(spare)
    }

    /// Uses the spare of an earlier run, if it has the right size and no second hard link.
    pub(in crate::store) fn adopt_spare(&mut self) {
        // If it fails, the first segment tries again.
        let _ = self.open_dir();
        let file = self.fs.open(&self.journal.join(SPARE), Mode::Write).ok();
        let whole = |file: &Arc<dyn FsFile>| file.size().is_ok_and(|size| size == self.size);
        let own = |file: &Arc<dyn FsFile>| file.is_shared().is_ok_and(|shared| !shared);
        self.spare = file.filter(|file| whole(file) && own(file));
    }

    fn open_dir(&mut self) -> Result<(), StoreError> {
        if self.dir.is_none() {
            let opened = self.fs.open_dir(&self.journal);
            let refused = |error| refused("cannot open the journal's directory", &error);
            self.dir = Some(opened.map_err(refused)?);
        }
        Ok(())
    }

    /// Creates a file with `size` bytes reserved and synced; its name is not synced.
    fn allocate(&mut self, path: &Path, size: u64) -> Result<Arc<dyn FsFile>, WriteError> {
        let refused = |error| refused(&format!("no room for {size} bytes of journal"), &error);
        let file = self.fs.open(path, Mode::Create).map_err(refused)?;
        if let Err(error) = file.allocate(size) {
            let _ = self.fs.unlink(path);
            return Err(refused(error).into());
        }
        self.syncs += 1;
        file.sync_data().map_err(failed("sync a new segment"))?;
        Ok(file)
    }

    /// Syncs the names in the journal's directory.
    pub(in crate::store) fn sync_dir(&mut self) -> Result<(), Failure> {
        self.syncs += 1;
        let synced = match &self.dir {
            Some(dir) => dir.sync_data(),
            None => self.fs.sync_dir(&self.journal),
        };
        synced.map_err(failed("sync the journal's directory"))
    }
}
