//! The content of a simulated disk: what programs see, what is durable, and the changes in between.

use super::Identity;
#[cfg(doc)]
use super::{Fs, FsFile, Mode};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

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
    /// What programs see.
    pub(super) now: Content,
    pub(super) durable: Content,
    /// The changes of `now` that `durable` lacks, in order.
    pub(super) pending: Vec<DiskChange>,
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
    /// The locks on files, each as long as its handle.
    pub(super) locks: BTreeMap<u64, Weak<()>>,
}

/// Names, and the bytes of files.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) files: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// An operation that must fail.
#[derive(derive_more::Debug)]
pub(super) struct Fault {
    pub(super) kinds: Vec<OpKind>,
    /// How many operations succeed before.
    pub(super) left: usize,
    #[debug(skip)]
    pub(super) error: Box<dyn Fn() -> io::Error + Send>,
    pub(super) lasts: bool,
}

/// A change of the content.
#[derive(Debug)]
pub(super) enum DiskChange {
    /// A name leads to this node, or is removed.
    Name(PathBuf, Option<Node>),
    Rename(PathBuf, PathBuf, Node),
    /// Bytes at an offset of a file. Without bytes, the file only has at least this length.
    Write(u64, usize, Vec<u8>),
    Size(u64, usize),
}

/// What one sync makes durable.
#[derive(PartialEq, Eq)]
pub(super) enum SyncScope<'a> {
    Names(Option<&'a Path>),
    File(u64),
}

impl DiskChange {
    pub(super) fn scope(&self) -> SyncScope<'_> {
        match self {
            Self::Name(path, _) | Self::Rename(path, ..) => SyncScope::Names(path.parent()),
            Self::Write(number, ..) | Self::Size(number, _) => SyncScope::File(*number),
        }
    }
}

impl Content {
    /// Applies a change. `keeps` is asked about each part of it that a power cut may lose alone. POSIX does not guarantee
    /// that a rename is atomic on disk: both names may be there.
    pub(super) fn apply(&mut self, change: &DiskChange, keeps: &mut impl FnMut() -> bool) {
        match change {
            DiskChange::Name(..) | DiskChange::Rename(..) | DiskChange::Size(..) if !keeps() => {}
            DiskChange::Name(path, Some(node)) => drop(self.names.insert(path.clone(), *node)),
            DiskChange::Name(path, None) => drop(self.names.remove(path)),
            DiskChange::Rename(from, to, node) => {
                if keeps() {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *node);
            }
            DiskChange::Size(number, size) => self.files.entry(*number).or_default().resize(*size, 0),
            DiskChange::Write(number, offset, bytes) => {
                let data = self.files.entry(*number).or_default();
                // The new length may reach the disk without the data.
                if keeps() {
                    data.resize(data.len().max(*offset + bytes.len()), 0);
                }
                let mut at = *offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (sector, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    let end = at + sector.len();
                    if keeps() {
                        data.resize(data.len().max(end), 0);
                        data.splice(at..end, sector.iter().copied());
                    }
                    (at, rest) = (end, after);
                }
            }
        }
    }

    /// Removes files whose directory has no name.
    pub(super) fn drop_unreachable(&mut self) {
        let all = self.names.clone();
        self.names.retain(|path, _| {
            let mut parents = path.ancestors().skip(1).filter(|dir| dir.parent().is_some());
            parents.all(|dir| all.get(dir) == Some(&Node::Dir))
        });
    }

    fn size(&self, number: u64) -> u64 {
        self.files.get(&number).map_or(0, |data| data.len() as u64)
    }
}

impl Disk {
    pub(super) fn used(&self) -> u64 {
        let size = |node: &Node| match node {
            Node::Dir => 0,
            Node::File(number) => self.now.size(*number),
        };
        self.now.names.values().map(size).sum()
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
        let error = (fault.error)();
        self.refused += 1;
        if !fault.lasts {
            self.fault = None;
        }
        Err(error)
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
        let more = size.saturating_sub(self.now.size(number));
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a change that programs see and that is not durable yet.
    pub(super) fn change(&mut self, change: DiskChange) {
        self.now.apply(&change, &mut || true);
        self.pending.push(change);
    }

    /// Makes the changes in `scope` durable.
    pub(super) fn sync(&mut self, scope: &SyncScope<'_>) {
        for change in self.pending.extract_if(.., |change| change.scope() == *scope) {
            self.durable.apply(&change, &mut || true);
        }
    }

    pub(super) fn inode_of(&self, path: &Path) -> io::Result<u64> {
        match self.now.names.get(path) {
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The identity of the file with this number.
    pub(super) fn identity(&self, number: u64) -> Identity {
        let names = self.now.names.values();
        Identity {
            inode: number,
            links: names.filter(|node| **node == Node::File(number)).count() as u64,
            size: self.now.size(number),
            ..DIRECTORY
        }
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        path.parent().is_none() || path == Path::new("") || self.now.names.get(path) == Some(&Node::Dir)
    }

    /// Gives a new file or directory its name.
    pub(super) fn set_name(&mut self, path: &Path, node: Node) -> io::Result<()> {
        if !self.is_dir(path.parent().unwrap_or(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(DiskChange::Name(path.to_owned(), Some(node)));
        Ok(())
    }
}
