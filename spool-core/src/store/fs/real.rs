//! The system's files. Only this file uses `std::fs` and `fs2`. Directories are created with mode 0700 and files with
//! 0600, whatever the umask. A symbolic link, a pipe or a device in place of a file or a directory is an error.

use crate::store::fs::{Fs, FsFile, Identity, Mode};
use fs2::FileExt as _;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::sync::Arc;

/// The modes of new files and directories, and the mask of all permission bits.
const FILE: u32 = 0o600;
const DIR: u32 = 0o700;
const ALL: u32 = 0o777;

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn FsFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != Mode::Read)
            .create_new(mode == Mode::Create)
            .mode(FILE)
            // Without O_NONBLOCK, opening a pipe would block.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if mode == Mode::Create && found.mode() & ALL != FILE {
            file.set_permissions(Permissions::from_mode(FILE))?;
        }
        Ok(Arc::new(RealFile {
            file,
            sync: File::sync_data,
        }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIR).create(path)?;
        let made = std::fs::symlink_metadata(path)?;
        if made.mode() & ALL != DIR {
            std::fs::set_permissions(path, Permissions::from_mode(DIR))?;
        }
        Ok(())
    }

    fn dir_mode(&self, dir: &Path) -> io::Result<u32> {
        Ok(itself(dir)?.metadata()?.mode() & ALL)
    }

    fn close_dir(&self, dir: &Path) -> io::Result<()> {
        itself(dir)?.set_permissions(Permissions::from_mode(DIR))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(RealFile {
            file: File::open(dir)?,
            sync: File::sync_all,
        }))
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        fs2::available_space(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        Ok(identity(&std::fs::symlink_metadata(path)?))
    }

    fn is_read_only(&self, dir: &Path) -> io::Result<bool> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    fn foreign_owner(&self, path: &Path) -> io::Result<Option<u32>> {
        Ok(foreign(&std::fs::metadata(path)?))
    }
}

/// Opens a directory that is not a link.
fn itself(dir: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}

/// The owner, if it is not the effective user, who owns /proc/self. Without /proc there is nothing to compare with, and
/// permissions decide.
fn foreign(found: &Metadata) -> Option<u32> {
    let ours = std::fs::metadata("/proc/self").map(|process| process.uid());
    let owner = found.uid();
    ours.ok().filter(|ours| *ours != owner).map(|_| owner)
}

fn identity(found: &Metadata) -> Identity {
    Identity {
        device: found.dev(),
        inode: found.ino(),
        links: found.nlink(),
        size: found.len(),
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// `fdatasync` of a directory need not make its names durable.
    sync: fn(&File) -> io::Result<()>,
}

impl FsFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, size) {
            // Falls back to writing zeros. An error there may be of any kind: `posix_fallocate` does not set `errno`.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.file.allocate(size),
            done => Ok(done?),
        }
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn is_shared(&self) -> io::Result<bool> {
        let found = self.file.metadata()?;
        Ok(found.nlink() > 1 || foreign(&found).is_some())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(identity(&self.file.metadata()?))
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.sync)(&self.file)
    }

    fn read_ahead(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::WillNeed);
    }

    fn forget_cached(&self) {
        // A hint: dirty or used pages stay.
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn try_lock(&self) -> io::Result<bool> {
        match fs2::FileExt::try_lock_exclusive(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
