//! A simulated disk, in memory.
//!
//! It holds twice what it is told: as programs see it, and as a power cut would leave it. Data lasts only after
//! `sync_data` of its file, names only after `sync_dir` of their directory. Every operation that changes something
//! has a number, so that a test can cut the power after each of them in turn. It is a model to test against, not a fast
//! file system.
//!
//! What was not synced reaches the disk in any order and in parts: each sector of 512 bytes, each length, each name for
//! itself; of a rename the new name alone too. A sector is written whole or not at all, and a synced name in a directory
//! is gone with that directory's own name.

use super::sim_disk::{
    DataChange, Dice, Disk, Inode, NameChange, Node, apply_data, apply_name, drop_unreachable, tear_name,
};
use super::{Fs, FsFile, Mode};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kinds of operation that change something, and so can fail or be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// [`FsFile::write_at`].
    Write,
    /// [`FsFile::allocate`].
    Allocate,
    /// [`FsFile::set_len`].
    SetLen,
    /// [`FsFile::sync_data`].
    Sync,
    /// [`Fs::sync_dir`].
    SyncDir,
    /// [`Fs::open`] with [`Mode::Create`].
    Create,
    /// [`Fs::make_dir`].
    MakeDir,
    /// [`Fs::rename`].
    Rename,
    /// [`Fs::unlink`].
    Unlink,
}

/// What becomes of unsynced data and names when the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    Everything,
    /// All of it had reached the disk.
    Nothing,
    /// Each sector, each length and each name either reached the disk or not, as drawn from this seed.
    Torn(u64),
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimFs(Arc<Mutex<Disk>>);

impl SimFs {
    /// An empty disk without limits, with a root directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes all files together may hold; `None`: any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// Every operation so far that changed something, in order.
    #[must_use]
    pub fn operations(&self) -> Vec<OpKind> {
        self.disk().operations.clone()
    }

    /// Cuts the power as soon as `count` operations in all are done: every later one fails. With a larger `count` set
    /// afterwards the disk goes on, nothing lost: as after the end of a process.
    pub fn cut_after(&self, count: usize) {
        self.disk().cut_after = Some(count);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let disk = self.disk();
        disk.cut_after.is_some_and(|count| disk.operations.len() >= count)
    }

    /// Lets the `nth` operation of `kind` from now on (0: the next) fail once, with nothing done.
    pub fn fail(&self, kind: OpKind, nth: usize, error: io::ErrorKind) {
        self.disk().fail = Some((kind, nth, error));
    }

    /// The disk as it comes up after a power cut now. This one stays as it is.
    #[must_use]
    pub fn after_power_cut(&self, loss: Loss) -> Self {
        let disk = self.disk();
        let mut dice = Dice::new(match loss {
            Loss::Torn(seed) => seed,
            Loss::Everything | Loss::Nothing => 0,
        });
        let mut keeps = || match loss {
            Loss::Everything => false,
            Loss::Nothing => true,
            Loss::Torn(_) => dice.flip(),
        };
        let mut names = disk.durable_names.clone();
        for change in &disk.pending_names {
            tear_name(&mut names, change, &mut keeps);
        }
        drop_unreachable(&mut names);
        let mut files = BTreeMap::new();
        for (number, inode) in &disk.files {
            let mut data = inode.durable.clone();
            for change in &inode.pending {
                apply_data(&mut data, change, &mut keeps);
            }
            files.insert(
                *number,
                Inode {
                    durable: data.clone(),
                    data,
                    ..Inode::default()
                },
            );
        }
        Self(Arc::new(Mutex::new(Disk {
            durable_names: names.clone(),
            names,
            files,
            next_inode: disk.next_inode,
            capacity: disk.capacity,
            ..Disk::default()
        })))
    }

    /// The bytes of a file as programs see it.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let inode = disk.inode_of(path).ok()?;
        disk.files.get(&inode).map(|file| file.data.clone())
    }

    /// Puts a file in place as if it had always been there: names and data last.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.disk();
        let number = disk.inode_of(path).unwrap_or_else(|_| disk.new_inode());
        let file = disk.files.entry(number).or_default();
        file.data = bytes.to_vec();
        file.durable = bytes.to_vec();
        file.pending.clear();
        for parent in path.ancestors().skip(1) {
            disk.names.insert(parent.to_owned(), Node::Dir);
            disk.durable_names.insert(parent.to_owned(), Node::Dir);
        }
        disk.names.insert(path.to_owned(), Node::File(number));
        disk.durable_names.insert(path.to_owned(), Node::File(number));
    }

    /// Every file's path, as programs see it.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let disk = self.disk();
        let files = disk.names.iter().filter(|(_, node)| **node != Node::Dir);
        files.map(|(path, _)| path.clone()).collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.disk();
        let number = match (mode, disk.names.get(path)) {
            (Mode::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create, None) => {
                disk.begin(OpKind::Create)?;
                let number = disk.new_inode();
                disk.set_name(path, Node::File(number))?;
                number
            }
            (Mode::Read | Mode::Write, _) => disk.inode_of(path)?,
        };
        Ok(Arc::new(SimFile {
            fs: self.clone(),
            number,
            holds_lock: Mutex::new(false),
        }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.begin(OpKind::MakeDir)?;
        disk.set_name(path, Node::Dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        if !disk.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let number = disk.inode_of(from)?;
        disk.begin(OpKind::Rename)?;
        disk.change_name(NameChange::Rename(
            from.to_owned(),
            to.to_owned(),
            Node::File(number),
        ));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.inode_of(path)?;
        disk.begin(OpKind::Unlink)?;
        disk.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin(OpKind::SyncDir)?;
        for change in std::mem::take(&mut disk.pending_names) {
            let (NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(path, _, _)) =
                &change;
            if path.parent() == Some(dir) {
                apply_name(&mut disk.durable_names, &change);
            } else {
                disk.pending_names.push(change);
            }
        }
        Ok(())
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used())))
    }

    fn foreign_owner(&self, path: &Path) -> io::Result<Option<u32>> {
        if self.disk().is_dir(path) {
            Ok(None)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    number: u64,
    holds_lock: Mutex<bool>,
}

impl SimFile {
    fn change(&self, kind: OpKind, size: u64, change: DataChange) -> io::Result<()> {
        let mut disk = self.fs.disk();
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
        let mut disk = self.fs.disk();
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

    fn size(&self) -> io::Result<u64> {
        Ok(self.fs.disk().file(self.number)?.data.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.begin(OpKind::Sync)?;
        let file = disk.file(self.number)?;
        for change in std::mem::take(&mut file.pending) {
            apply_data(&mut file.durable, &change, &mut || true);
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = self.fs.disk();
        let file = disk.file(self.number)?;
        if file.locked {
            return Ok(false);
        }
        file.locked = true;
        *self.holds_lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(true)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let held = *self.holds_lock.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held && let Ok(file) = self.fs.disk().file(self.number) {
            file.locked = false;
        }
    }
}
