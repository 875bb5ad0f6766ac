//! The content of a simulated disk: what programs see, what is durable, and the changes in between.

use super::Identity;
#[cfg(doc)]
use super::{Fs, FsFile, Mode};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// Operations that can fail. Those that change something are numbered.
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
    /// [`Fs::open`] of an existing file, and [`Fs::open_dir`]. Not numbered, because it changes nothing.
    Open,
    /// [`FsFile::read_at`]. Not numbered.
    Read,
}

/// A disk that its files and directories share.
pub(super) type SharedDisk = Arc<Mutex<Disk>>;

/// The identity of every directory: a directory has no inode number, and is known by its path.
pub(super) const DIRECTORY: Identity = Identity {
    device: 1,
    inode: 0,
    links: 1,
    size: 0,
};

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) durable_names: BTreeMap<PathBuf, Node>,
    pub(super) pending_names: Vec<NameChange>,
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) capacity: Option<u64>,
    pub(super) operations: Vec<OpKind>,
    pub(super) cut_after: Option<usize>,
    pub(super) fault: Option<Fault>,
    /// Operations that have failed because of a fault.
    pub(super) refused: usize,
    /// Unreadable bytes of files.
    pub(super) unreadable: Vec<(u64, Range<u64>)>,
    pub(super) read_only: bool,
}

/// An operation that must fail.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kinds: Vec<OpKind>,
    /// How many operations succeed before.
    pub(super) left: usize,
    pub(super) error: FaultError,
    pub(super) lasts: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum FaultError {
    Kind(io::ErrorKind),
    Os(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<DataChange>,
    pub(super) locked: bool,
}

#[derive(Debug, Clone)]
pub(super) enum DataChange {
    Write(usize, Vec<u8>),
    Size(usize),
    /// As `Size`, but never truncates.
    AtLeast(usize),
}

pub(super) fn apply_name(names: &mut BTreeMap<PathBuf, Node>, change: &NameChange) {
    match change {
        NameChange::Set(path, node) => {
            names.insert(path.clone(), *node);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

/// Applies a change as a power cut leaves it. POSIX does not guarantee that a rename is atomic on disk: both names may
/// be there.
pub(super) fn tear_name(
    names: &mut BTreeMap<PathBuf, Node>,
    change: &NameChange,
    keeps: &mut impl FnMut() -> bool,
) {
    match change {
        _ if !keeps() => {}
        NameChange::Rename(_, to, node) if !keeps() => {
            names.insert(to.clone(), *node);
        }
        NameChange::Set(..) | NameChange::Remove(_) | NameChange::Rename(..) => apply_name(names, change),
    }
}

/// Removes files whose directory has no durable name.
pub(super) fn drop_unreachable(names: &mut BTreeMap<PathBuf, Node>) {
    let all = names.clone();
    names.retain(|path, _| {
        let mut parents = path.ancestors().skip(1).filter(|dir| dir.parent().is_some());
        parents.all(|dir| all.get(dir) == Some(&Node::Dir))
    });
}

pub(super) fn apply_data(data: &mut Vec<u8>, change: &DataChange, keeps: &mut impl FnMut() -> bool) {
    match change {
        DataChange::Size(size) if keeps() => data.resize(*size, 0),
        DataChange::AtLeast(size) if keeps() => data.resize(data.len().max(*size), 0),
        DataChange::Size(_) | DataChange::AtLeast(_) => {}
        DataChange::Write(offset, bytes) => {
            // The new length may reach the disk without the data.
            if keeps() {
                data.resize(data.len().max(*offset + bytes.len()), 0);
            }
            let mut at = *offset;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (sector, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                if keeps() {
                    put(data, at, sector);
                }
                at += sector.len();
                rest = after;
            }
        }
    }
}

fn put(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    data.resize(data.len().max(at + bytes.len()), 0);
    data.splice(at..at + bytes.len(), bytes.iter().copied());
}

/// SplitMix64 as a coin with odds that the seed selects: mostly kept, mostly lost, or even.
pub(super) struct Coin {
    state: u64,
    /// The odds of being kept, of 32.
    odds: u64,
}

impl Coin {
    pub(super) fn new(seed: u64) -> Self {
        let mut coin = Self { state: seed, odds: 0 };
        let odds = [16, 16, 30, 4];
        let which = usize::try_from(coin.next() % 4).unwrap_or(0);
        coin.odds = odds.get(which).copied().unwrap_or(16);
        coin
    }

    pub(super) fn flip(&mut self) -> bool {
        self.next() % 32 < self.odds
    }

    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Disk {
    pub(super) fn used(&self) -> u64 {
        self.names
            .values()
            .map(|node| match node {
                Node::Dir => 0,
                Node::File(number) => self.files.get(number).map_or(0, |file| file.data.len() as u64),
            })
            .sum()
    }

    /// Whether the power is cut.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|count| self.operations.len() >= count)
    }

    /// Fails if an operation must fail.
    pub(super) fn allow(&mut self, kind: OpKind) -> io::Result<()> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.kinds.contains(&kind)) else {
            return Ok(());
        };
        if fault.left > 0 {
            fault.left -= 1;
            return Ok(());
        }
        let error = fault.error;
        self.refused += 1;
        if !fault.lasts {
            self.fault = None;
        }
        Err(match error {
            FaultError::Kind(kind) => kind.into(),
            FaultError::Os(number) => io::Error::from_raw_os_error(number),
        })
    }

    /// Counts an operation that changes something; fails if it must fail.
    pub(super) fn begin(&mut self, kind: OpKind) -> io::Result<()> {
        if self.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        self.allow(kind)?;
        if self.read_only && !matches!(kind, OpKind::Sync | OpKind::SyncDir) {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        self.operations.push(kind);
        Ok(())
    }

    pub(super) fn room_for(&self, number: u64, size: u64) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        let now = self.files.get(&number).map_or(0, |file| file.data.len() as u64);
        let more = size.saturating_sub(now);
        if more > 0 && self.used() + more > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn inode_of(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The identity of the file with this number.
    pub(super) fn identity(&self, number: u64) -> Identity {
        let names = self.names.values().filter(|node| **node == Node::File(number));
        Identity {
            device: 1,
            inode: number,
            links: names.count() as u64,
            size: self.files.get(&number).map_or(0, |file| file.data.len() as u64),
        }
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.files.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path.parent().is_none() || path == Path::new("") || self.names.get(path) == Some(&Node::Dir)
    }

    pub(super) fn set_name(&mut self, path: &Path, node: Node) -> io::Result<()> {
        if !self.is_dir(path.parent().unwrap_or(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Set(path.to_owned(), node));
        Ok(())
    }

    pub(super) fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
    }

    pub(super) fn file(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&number).ok_or(io::ErrorKind::NotFound.into())
    }
}
