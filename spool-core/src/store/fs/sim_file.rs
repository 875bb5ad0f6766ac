//! The open files and directories of a simulated disk.

use super::sim_disk::{DIRECTORY, DataChange, NameChange, OpKind, SharedDisk, apply_data, apply_name};
use super::{FsDir, FsFile, Identity};
use crate::store::mutex::locked;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct SimDir {
    pub(super) disk: SharedDisk,
    pub(super) path: PathBuf,
}

impl FsDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        disk.begin(OpKind::SyncDir)?;
        for change in std::mem::take(&mut disk.pending_names) {
            let (NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(path, _, _)) =
                &change;
            if path.parent() == Some(self.path.as_path()) {
                apply_name(&mut disk.durable_names, &change);
            } else {
                disk.pending_names.push(change);
            }
        }
        Ok(())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(DIRECTORY)
    }

    /// The lock file suffices on a disk that no other program uses.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SharedDisk,
    pub(super) number: u64,
    pub(super) holds_lock: Mutex<bool>,
}

impl SimFile {
    fn change(&self, kind: OpKind, size: u64, change: DataChange) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        disk.begin(kind)?;
        disk.room_for(self.number, size)?;
        let file = disk.file(self.number)?;
        apply_data(&mut file.data, &change, &mut || true);
        file.pending.push(change);
        Ok(())
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl FsFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = locked(&self.disk);
        disk.allow(OpKind::Read)?;
        let end = offset + buffer.len() as u64;
        let touched = |(number, bytes): &(u64, Range<u64>)| {
            *number == self.number && bytes.start < end && offset < bytes.end
        };
        if disk.unreadable.iter().any(touched) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let data = &disk.file(self.number)?.data;
        let rest = data.get(position(offset)?..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = DataChange::Write(position(offset)?, bytes.to_vec());
        self.change(OpKind::Write, offset + bytes.len() as u64, change)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.change(OpKind::Allocate, size, DataChange::AtLeast(position(size)?))
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.change(OpKind::SetLen, size, DataChange::Size(position(size)?))
    }

    fn is_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(locked(&self.disk).identity(self.number))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        if let Err(error) = disk.begin(OpKind::Sync) {
            if !disk.is_cut() {
                disk.file(self.number)?.pending.clear();
            }
            return Err(error);
        }
        let file = disk.file(self.number)?;
        for change in std::mem::take(&mut file.pending) {
            apply_data(&mut file.durable, &change, &mut || true);
        }
        Ok(())
    }

    fn read_ahead(&self) {}

    fn forget_cached(&self) {}

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = locked(&self.disk);
        let file = disk.file(self.number)?;
        if file.locked {
            return Ok(false);
        }
        file.locked = true;
        *locked(&self.holds_lock) = true;
        Ok(true)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let held = *self.holds_lock.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held && let Ok(file) = locked(&self.disk).file(self.number) {
            file.locked = false;
        }
    }
}
