//! The open files and directories of a simulated disk.

use super::sim_disk::{DIRECTORY, DiskChange, OpKind, SharedDisk, SyncScope};
use super::{FsFile, Identity};
use crate::store::mutex::locked;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(super) struct SimFile {
    disk: SharedDisk,
    path: PathBuf,
    /// The number of the file; `None` of a directory.
    number: Option<u64>,
    /// The lock, if this handle has it.
    lock: OnceLock<Arc<()>>,
}

impl SimFile {
    pub(super) fn of(disk: &SharedDisk, number: Option<u64>, path: &Path) -> Arc<dyn FsFile> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            path: path.to_owned(),
            number,
            lock: OnceLock::new(),
        })
    }

    fn number(&self) -> io::Result<u64> {
        self.number.ok_or_else(|| io::ErrorKind::IsADirectory.into())
    }

    fn change(&self, kind: OpKind, size: u64, change: DiskChange) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        disk.begin(kind)?;
        disk.room_for(self.number()?, size)?;
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
        let number = self.number()?;
        let end = offset + buffer.len() as u64;
        let touched =
            |(other, bytes): &(u64, Range<u64>)| *other == number && bytes.start < end && offset < bytes.end;
        if disk.unreadable.iter().any(touched) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let data = disk.now.files.get(&number).map_or(&[][..], Vec::as_slice);
        let mut rest = data.get(position(offset)?..).unwrap_or_default();
        io::Read::read(&mut rest, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = DiskChange::Write(self.number()?, position(offset)?, bytes.to_vec());
        self.change(OpKind::Write, offset + bytes.len() as u64, change)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let change = DiskChange::Write(self.number()?, position(size)?, Vec::new());
        self.change(OpKind::Allocate, size, change)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        let change = DiskChange::Size(self.number()?, position(size)?);
        self.change(OpKind::SetLen, size, change)
    }

    fn is_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn identity(&self) -> io::Result<Identity> {
        let identity = |number| locked(&self.disk).identity(number);
        Ok(self.number.map_or(DIRECTORY, identity))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        let (kind, scope) = match self.number {
            Some(number) => (OpKind::Sync, SyncScope::File(number)),
            None => (OpKind::SyncDir, SyncScope::Names(Some(&self.path))),
        };
        let begun = disk.begin(kind);
        if begun.is_ok() {
            disk.sync(&scope);
        } else if kind == OpKind::Sync && !disk.is_cut() {
            disk.pending.retain(|change| change.scope() != scope);
        }
        begun
    }

    /// The lock file suffices on a disk that no other program uses: a directory has no lock.
    fn try_lock(&self) -> io::Result<bool> {
        let Some(number) = self.number else {
            return Ok(true);
        };
        let mut disk = locked(&self.disk);
        let lock = disk.locks.entry(number).or_default();
        if lock.strong_count() > 0 {
            return Ok(false);
        }
        let held = Arc::new(());
        *lock = Arc::downgrade(&held);
        Ok(self.lock.set(held).is_ok())
    }
}
