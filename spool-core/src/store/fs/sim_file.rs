//! The open files and directories of a simulated disk.

use super::sim_disk::{Change, DIRECTORY, OpKind, Scope, SharedDisk};
use super::{FsDir, FsFile, Identity};
use crate::store::mutex::locked;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(super) struct SimDir {
    pub(super) disk: SharedDisk,
    pub(super) path: PathBuf,
}

impl FsDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        disk.begin(OpKind::SyncDir)?;
        disk.sync(&Scope::Names(Some(&self.path)));
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
    /// The lock, if this handle has it.
    pub(super) lock: OnceLock<Arc<()>>,
}

impl SimFile {
    fn change(&self, kind: OpKind, size: u64, change: Change) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        disk.begin(kind)?;
        disk.room_for(self.number, size)?;
        disk.change(change);
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
        let data = disk.now.files.get(&self.number).map_or(&[][..], Vec::as_slice);
        let mut rest = data.get(position(offset)?..).unwrap_or_default();
        io::Read::read(&mut rest, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = Change::Write(self.number, position(offset)?, bytes.to_vec());
        self.change(OpKind::Write, offset + bytes.len() as u64, change)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let change = Change::Write(self.number, position(size)?, Vec::new());
        self.change(OpKind::Allocate, size, change)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.change(OpKind::SetLen, size, Change::Size(self.number, position(size)?))
    }

    fn is_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(locked(&self.disk).identity(self.number))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        let scope = Scope::File(self.number);
        let begun = disk.begin(OpKind::Sync);
        match begun {
            Ok(()) => disk.sync(&scope),
            Err(_) if disk.is_cut() => {}
            Err(_) => disk.pending.retain(|change| change.scope() != scope),
        }
        begun
    }

    fn read_ahead(&self) {}

    fn forget_cached(&self) {}

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = locked(&self.disk);
        let lock = disk.locks.entry(self.number).or_default();
        if lock.strong_count() > 0 {
            return Ok(false);
        }
        let held = Arc::new(());
        *lock = Arc::downgrade(&held);
        Ok(self.lock.set(held).is_ok())
    }
}
