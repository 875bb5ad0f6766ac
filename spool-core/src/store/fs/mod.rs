//! The seam between the store and a disk: the few operations the store needs, and what each of them promises.
//!
//! The store never touches a file but through [`Fs`] and [`FsFile`]. [`RealFs`] is the only place in this crate that
//! calls the system's files; [`SimFs`] is a disk in memory that forgets, tears, fills up and fails as told.
//! Nothing here knows what a journal is.

pub(super) mod ops;
mod real;
mod sim;
mod sim_disk;
mod sim_file;

pub use real::RealFs;
pub use sim::{Loss, OpKind, SimFs, Stall};

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, to read and write.
    Create,
}

/// Which file or directory it is, whatever its name, how many names it has, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The number on it.
    pub inode: u64,
    /// Names in directories. A file without any is gone with its last handle. Of no meaning for directories.
    pub links: u64,
    /// Bytes of a file. Of no meaning for directories.
    pub size: u64,
}

impl Identity {
    /// Whether both are the same file or directory.
    #[must_use]
    pub const fn is_same(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// A file system. Paths are followed to their last component, which is never a symbolic link, and a file is nothing else than a
/// regular one.
pub trait Fs: Send + Sync + fmt::Debug + 'static {
    /// Opens or makes a file. A new one is readable by its owner alone, and its name lasts only after
    /// [`Fs::sync_dir`].
    ///
    /// # Errors
    /// Those of the system; `AlreadyExists` for [`Mode::Create`].
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn FsFile>>;

    /// Makes a directory that only its owner can enter.
    ///
    /// # Errors
    /// Those of the system.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Who may do what with a directory, as the nine bits of its mode.
    ///
    /// # Errors
    /// Those of the system; `NotADirectory` for a link to one too.
    fn dir_mode(&self, dir: &Path) -> io::Result<u32>;

    /// Lets nobody but its owner enter a directory.
    ///
    /// # Errors
    /// As [`Fs::dir_mode`].
    fn close_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order. Names that are no UTF-8 come out mangled, never left out.
    ///
    /// # Errors
    /// Those of the system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory, at once and as a whole.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away; handles that are open keep reading.
    ///
    /// # Errors
    /// Those of the system.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, to make its names last at a time when the system may have no descriptor left.
    ///
    /// # Errors
    /// Those of the system.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn FsDir>>;

    /// Opens `dir` for one [`FsDir::sync`].
    ///
    /// # Errors
    /// Those of the system. After an error nobody knows which names last.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    /// Bytes this process may still write on the file system of `path`.
    ///
    /// # Errors
    /// Those of the system.
    fn available_space(&self, path: &Path) -> io::Result<u64>;

    /// What the name `path` leads to now. A link is not followed; the path of a directory may end in `.` to follow it.
    ///
    /// # Errors
    /// Those of the system; `NotFound` when the name is gone.
    fn identity(&self, path: &Path) -> io::Result<Identity>;

    /// Whether nothing can be changed on the file system of `dir`.
    ///
    /// # Errors
    /// Those of the system.
    fn is_read_only(&self, dir: &Path) -> io::Result<bool>;

    /// The user `path` belongs to, when it is not the one this process runs as.
    ///
    /// # Errors
    /// Those of the system.
    fn foreign_owner(&self, path: &Path) -> io::Result<Option<u32>>;
}

/// An open directory.
pub trait FsDir: Send + Sync + fmt::Debug {
    /// Makes every name in it last: those made, changed, and taken away.
    ///
    /// # Errors
    /// Those of the system. After an error nobody knows which names last.
    fn sync(&self) -> io::Result<()>;

    /// Which directory it is.
    ///
    /// # Errors
    /// Those of the system.
    fn identity(&self) -> io::Result<Identity>;

    /// Takes the directory for this handle alone until it is dropped; `false` when another one has it.
    ///
    /// # Errors
    /// Those of the system.
    fn try_lock(&self) -> io::Result<bool>;
}

/// An open file. Reads and writes name their offset, so that a handle can be shared.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` until it is full or the file ends; gives the number of bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`. They last after [`FsFile::sync_data`].
    ///
    /// # Errors
    /// Those of the system. After an error nobody knows how much was written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reserves space, so that writes below `size` need none. The file reads as zeros there.
    ///
    /// # Errors
    /// Those of the system.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros that have no space reserved.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Whether the file has a second name, or another owner than this process: what is written to it may be meant for
    /// another place.
    ///
    /// # Errors
    /// Those of the system.
    fn is_shared(&self) -> io::Result<bool>;

    /// Which file it is, and how many names it has.
    ///
    /// # Errors
    /// Those of the system.
    fn identity(&self) -> io::Result<Identity>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// Those of the system.
    fn size(&self) -> io::Result<u64>;

    /// Makes what was written last, the length of the file included.
    ///
    /// # Errors
    /// Those of the system. Never to be called again after an error: it would report success and prove nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Lets the system begin to read the whole file into memory, since it is about to be asked for. Where that cannot be asked
    /// for, nothing happens.
    fn read_ahead(&self);

    /// Has the next reads come from the disk, not from what the system keeps of the file in memory. Where that cannot be
    /// asked for, nothing happens.
    fn forget_cached(&self);

    /// Takes the file for this handle alone until it is dropped; `false` when another one has it.
    ///
    /// # Errors
    /// Those of the system.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Whether the system was short of descriptors or memory: nothing is wrong with the file, and later it may be had.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
        )
}

/// Whether the disk, or the file system's own checksums, have given these bytes up.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN)
    )
}
