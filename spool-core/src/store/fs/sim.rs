//! A simulated disk, in memory.
//!
//! It holds two states: what programs see, and what is durable. Data is durable after `sync_data` of its file, names
//! after `sync_dir` of their directory. Every operation that changes something is numbered, so that a test can cut the
//! power after each of them in turn. It is a model for tests, not a fast file system. At a power cut, unsynced changes
//! reach the disk in any order and in parts: each sector of 512 bytes, each length and each name by itself; of a
//! rename, perhaps the new name alone. A sector is written completely or not at all, and a synced name is lost if the
//! name of its directory is.

pub use super::sim_disk::OpKind;
use super::sim_disk::{DIRECTORY, Disk, DiskChange, Fault, Node, SharedDisk, SyncScope};
use super::sim_file::SimFile;
use super::{Fs, FsFile, Identity, Mode};
use crate::store::mutex::locked;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What happens to unsynced data and names at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// All of it reaches the disk.
    Nothing,
    /// Each sector, each length and each name reaches the disk or not, as drawn from this seed.
    Torn(u64),
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimFs(SharedDisk);

/// While it exists, every operation of the disk blocks.
#[derive(Debug)]
pub struct Stall<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, Disk>);

impl SimFs {
    /// Blocks every operation until the returned value is dropped.
    #[must_use]
    pub fn stall(&self) -> Stall<'_> {
        Stall(self.disk())
    }

    /// An empty disk without limits, with a root directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes all files together may have; `None` is no limit.
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

    /// How many operations [`SimFs::fail`] and [`SimFs::fail_all`] have failed so far.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.disk().refused
    }

    /// Cuts the power after `count` operations in total: every later one fails. With a larger `count` set later, the
    /// disk continues and nothing is lost, as after the end of a process.
    pub fn cut_after(&self, count: usize) {
        self.disk().cut_after = Some(count);
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.disk().is_cut()
    }

    /// Makes the `nth` next operation of `kind` (0 is the next one) fail once. As on Linux, a sync that fails loses the
    /// unsynced data, and a later sync succeeds.
    pub fn fail(&self, kind: OpKind, nth: usize, error: io::ErrorKind) {
        self.disk().fault = Some(Fault {
            kinds: vec![kind],
            left: nth,
            error: Box::new(move || error.into()),
            lasts: false,
        });
    }

    /// Makes every operation of these `kinds` fail with this error number, until [`SimFs::heal`].
    pub fn fail_all(&self, kinds: &[OpKind], os_error: i32) {
        self.disk().fault = Some(Fault {
            kinds: kinds.to_vec(),
            left: 0,
            error: Box::new(move || io::Error::from_raw_os_error(os_error)),
            lasts: true,
        });
    }

    /// Makes every read of these bytes of a file fail with `EIO`, until [`SimFs::heal`].
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) {
        let mut disk = self.disk();
        if let Ok(number) = disk.inode_of(path) {
            disk.unreadable.push((number, bytes));
        }
    }

    /// Makes every change fail with `EROFS`, or no longer.
    pub fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    /// Ends the effects of [`SimFs::fail`], [`SimFs::fail_all`] and [`SimFs::make_unreadable`].
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.fault = None;
        disk.unreadable.clear();
    }

    /// A copy of the disk as it is after a power cut now.
    #[must_use]
    pub fn after_power_cut(&self, loss: Loss) -> Self {
        let disk = self.disk();
        let mut drawn = 0_u64;
        let mut keeps = || match loss {
            Loss::Everything => false,
            Loss::Nothing => true,
            Loss::Torn(seed) => {
                drawn += 1;
                // By the seed, mostly kept, mostly lost, or even.
                let odds = match xxh3_64_with_seed(&[], seed) % 4 {
                    0 => 30,
                    1 => 4,
                    _ => 16,
                };
                xxh3_64_with_seed(&drawn.to_le_bytes(), seed) % 32 < odds
            }
        };
        let mut durable = disk.durable.clone();
        for change in &disk.pending {
            durable.apply(change, &mut keeps);
        }
        durable.drop_unreachable();
        Self(Arc::new(Mutex::new(Disk {
            now: durable.clone(),
            durable,
            next_inode: disk.next_inode,
            capacity: disk.capacity,
            ..Disk::default()
        })))
    }

    /// The bytes of a file as programs see it.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let number = disk.inode_of(path).ok()?;
        Some(disk.now.files.get(&number).cloned().unwrap_or_default())
    }

    /// Adds a file whose name and data are durable.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.disk();
        let number = disk.inode_of(path).unwrap_or_else(|_| disk.new_inode());
        disk.pending
            .retain(|change| change.scope() != SyncScope::File(number));
        let Disk { now, durable, .. } = &mut *disk;
        for content in [now, durable] {
            content.files.insert(number, bytes.to_vec());
            let parents = path.ancestors().skip(1).map(|dir| (dir.to_owned(), Node::Dir));
            content.names.extend(parents);
            content.names.insert(path.to_owned(), Node::File(number));
        }
    }

    /// Every file's path, as programs see it.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let disk = self.disk();
        let files = disk.now.names.iter().filter(|(_, node)| **node != Node::Dir);
        files.map(|(path, _)| path.clone()).collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.0)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.disk();
        let number = match (mode, disk.now.names.get(path)) {
            (Mode::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create, None) => {
                disk.begin(OpKind::Create)?;
                let number = disk.new_inode();
                disk.set_name(path, Node::File(number))?;
                number
            }
            (Mode::Read | Mode::Write, _) => {
                disk.allow(OpKind::Open)?;
                if mode == Mode::Write && disk.read_only {
                    return Err(io::Error::from_raw_os_error(libc::EROFS));
                }
                disk.inode_of(path)?
            }
        };
        Ok(SimFile::of(&self.0, Some(number), path))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.now.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.begin(OpKind::MakeDir)?;
        disk.set_name(path, Node::Dir)
    }

    fn dir_mode(&self, dir: &Path) -> io::Result<u32> {
        let disk = self.disk();
        match disk.inode_of(dir) {
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(_) if disk.is_dir(dir) => Ok(0o700),
            Err(error) => Err(error),
        }
    }

    fn close_dir(&self, dir: &Path) -> io::Result<()> {
        self.dir_mode(dir).map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.dir_mode(dir)?;
        let disk = self.disk();
        let inside = disk.now.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let node = Node::File(disk.inode_of(from)?);
        disk.begin(OpKind::Rename)?;
        disk.change(DiskChange::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.inode_of(path)?;
        disk.begin(OpKind::Unlink)?;
        disk.change(DiskChange::Name(path.to_owned(), None));
        Ok(())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.disk().allow(OpKind::Open)?;
        self.dir_mode(dir)?;
        Ok(SimFile::of(&self.0, None, dir))
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used())))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        let disk = self.disk();
        match disk.inode_of(path) {
            Err(_) if disk.is_dir(path) => Ok(DIRECTORY),
            Err(error) => Err(error),
            Ok(number) => Ok(disk.identity(number)),
        }
    }

    fn is_read_only(&self, _dir: &Path) -> io::Result<bool> {
        Ok(self.disk().read_only)
    }

    fn foreign_owner(&self, path: &Path) -> io::Result<Option<u32>> {
        self.dir_mode(path).map(|_| None)
    }
}
