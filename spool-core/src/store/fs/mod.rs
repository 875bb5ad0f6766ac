//! The interface between the store and a disk: the operations that the store needs, and what each of them guarantees.
//!
//! The store uses files only through [`Fs`] and [`FsFile`]. [`RealFs`] is the only part of this crate that calls the
//! system; [`SimFs`] is a disk in memory with power cuts, errors and limits. Nothing here knows the journal.

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

/// The identity of a file or directory, its hard links and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// Hard links. A file without one is gone with its last handle. Undefined for directories.
    pub links: u64,
    /// Bytes of a file. Undefined for directories.
    pub size: u64,
}

impl Identity {
    /// Whether both are the same file or directory.
    #[must_use]
    pub const fn is_same(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// A file system. The last component of a path is never followed if it is a symbolic link, and only regular files are
/// opened.
pub trait Fs: Send + Sync + fmt::Debug + 'static {
    /// Opens or creates a file. A new file is readable by its owner only, and its name is durable after
    /// [`Fs::sync_dir`].
    ///
    /// # Errors
    /// Those of the system; `AlreadyExists` for [`Mode::Create`].
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn FsFile>>;

    /// Creates a directory with mode 0700.
    ///
    /// # Errors
    /// Those of the system.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// The permission bits of a directory.
    ///
    /// # Errors
    /// Those of the system; `NotADirectory` for a link to one too.
    fn dir_mode(&self, dir: &Path) -> io::Result<u32>;

    /// Sets the mode of a directory to 0700.
    ///
    /// # Errors
    /// As [`Fs::dir_mode`].
    fn close_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order. Names that are not valid UTF-8 are converted, never left out.
    ///
    /// # Errors
    /// Those of the system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file within a directory, atomically.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Unlinks a file; open handles stay usable.
    ///
    /// # Errors
    /// Those of the system.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, so that it can be synced later without a free descriptor.
    ///
    /// # Errors
    /// Those of the system.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn FsFile>>;

    /// Opens `dir` for one [`FsFile::sync_data`].
    ///
    /// # Errors
    /// Those of the system. After an error it is unknown which names are durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync_data()
    }

    /// Bytes this process may still write to the file system of `path`.
    ///
    /// # Errors
    /// Those of the system.
    fn available_space(&self, path: &Path) -> io::Result<u64>;

    /// The identity of what `path` names now. A link is not followed; the path of a directory may end in `.` to follow
    /// it.
    ///
    /// # Errors
    /// Those of the system; `NotFound` when the name is gone.
    fn identity(&self, path: &Path) -> io::Result<Identity>;

    /// Whether the file system of `dir` is read-only.
    ///
    /// # Errors
    /// Those of the system.
    fn is_read_only(&self, dir: &Path) -> io::Result<bool>;

    /// The owner of `path`, if it is not the user of this process.
    ///
    /// # Errors
    /// Those of the system.
    fn foreign_owner(&self, path: &Path) -> io::Result<Option<u32>>;
}

/// An open file, or an open directory, which has an identity, a lock and names to sync, and nothing to read or write. Reads
/// and writes name their offset, so that a handle can be shared.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` until it is full or the file ends; returns the number of bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`. They are durable after [`FsFile::sync_data`].
    ///
    /// # Errors
    /// Those of the system. After an error it is unknown how much was written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reserves space, so that writes below `size` need none. The file reads as zeros there.
    ///
    /// # Errors
    /// Those of the system.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Truncates the file, or extends it with zeros without reserving space.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Whether the file has a second hard link, or another owner than this process: writing to it may change another
    /// file.
    ///
    /// # Errors
    /// Those of the system.
    fn is_shared(&self) -> io::Result<bool>;

    /// Its identity and hard links.
    ///
    /// # Errors
    /// Those of the system.
    fn identity(&self) -> io::Result<Identity>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// Those of the system.
    fn size(&self) -> io::Result<u64> {
        Ok(self.identity()?.size)
    }

    /// Makes everything written durable, the length of the file included; of a directory every name in it: created,
    /// renamed and unlinked ones.
    ///
    /// # Errors
    /// Those of the system. Must not be called again after an error: it would succeed and prove nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Asks the system to read the whole file into its cache. Optional.
    fn read_ahead(&self) {}

    /// Asks the system to drop its cache of the file, so that the next reads come from the disk. Optional.
    fn forget_cached(&self) {}

    /// Locks the file for this handle until it is dropped; `false` when another handle has the lock.
    ///
    /// # Errors
    /// Those of the system.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Whether the system was short of descriptors or memory. The file is fine, and the operation may succeed later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
        )
}

/// Whether the disk, or a checksum of the file system, reports the bytes as unreadable.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN)
    )
}
