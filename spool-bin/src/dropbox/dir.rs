//! The drop directory: its permissions, its contents, and how files are claimed. Blocking.
//!
//! Everything in it is untrusted, and any user can exchange, link or remove names in it at any time. So a file is first claimed: it
//! is moved to `taken/`, which only the service may enter, and everything else is done there. A file with one link there has no other
//! name, and nobody else can change or remove that name. A file waits there until its message is on the spool, also over restarts. A
//! file that is not a message is moved to `refused/` unchanged, and never read again.

use super::format;
use crate::config::SubmissionLimits;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use spool_core::{Clock, FlowId, SystemClock, Timestamp, visible};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every user may leave a file, and only the service may list or read files or change those of others: 1733 like Postfix'
/// maildrop. Files get the group of the directory, so that a service that is not root can read them.
const DIR_MODE: u32 = 0o3733;
/// Files that were claimed and are not on the spool yet.
const TAKEN: &str = "taken";
/// Files that are no messages.
const REFUSED: &str = "refused";
/// Names in one scan, including those in `taken/`, which never has more files.
pub(super) const NAMES: usize = 1024;
/// Directories that one scan tries to remove.
const DIRECTORIES: usize = 64;
/// The age at which an unfinished file is removed.
const ABANDONED: Duration = Duration::from_secs(86_400);
/// The end of the year 9999, the last time that a header can state.
const LAST_DATE: i64 = 253_402_300_799_000;

/// The drop directory of a service.
#[derive(Debug)]
pub(super) struct DropDir {
    dir: OwnedFd,
    taken: OwnedFd,
    refused: OwnedFd,
    limits: SubmissionLimits,
}

/// The result of a scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Files in `taken/` that may be messages, at most [`NAMES`].
    pub(super) names: Vec<CString>,
    /// There are more.
    pub(super) more: bool,
    /// Why a file could not be claimed.
    pub(super) unclaimed: Option<String>,
    /// Directories that cannot be removed: they stay, and are not counted among the names.
    pub(super) stuck: usize,
}

/// The identity of a file: another file of the same name, or one that was written since, has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    inode: u64,
    /// The change time of its inode in seconds and nanoseconds, which no program can set.
    changed: (i64, i64),
}

/// A file that was read, with the memory `held` for it.
#[derive(Debug)]
pub(super) struct Left<H> {
    /// Its owner.
    pub(super) user: u32,
    pub(super) inode: u64,
    /// When it was written last.
    pub(super) at: Timestamp,
    pub(super) bytes: Vec<u8>,
    pub(super) held: H,
}

/// Why a file is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It no longer exists.
    Gone,
    /// It never can be: it is not a file that `sendmail` leaves, or its message is refused.
    Bad(String),
    /// It may be taken later; others may be taken now.
    Waits(String),
    /// It may be taken later, and so may others.
    Later(String),
}

impl From<Errno> for NotTaken {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Gone,
            Errno::LOOP => Self::Bad("is a symbolic link".to_owned()),
            Errno::ACCESS | Errno::PERM => Self::Bad("the service may not read it".to_owned()),
            Errno::NXIO | Errno::NODEV => Self::Bad("is not a regular file".to_owned()),
            errno => Self::Waits(io::Error::from(errno).to_string()),
        }
    }
}

impl DropDir {
    /// Opens `path`, and creates it with its mode if it is missing.
    ///
    /// # Errors
    /// Why it cannot be the drop directory.
    pub(super) fn open(path: &Path, limits: SubmissionLimits) -> Result<Self, String> {
        let dir = opened(CWD, path)?;
        // Before others may enter, so that the service owns them.
        let private = |name: &str| {
            let private = opened(&dir, Path::new(name)).and_then(|dir| with_mode(dir, 0o700, 0o777));
            private.map_err(|why| format!("{name}/ {why}"))
        };
        let (taken, refused) = (private(TAKEN)?, private(REFUSED)?);
        let dir = with_mode(dir, DIR_MODE, 0o7777)?;
        Ok(Self {
            dir,
            taken,
            refused,
            limits,
        })
    }

    /// Scans `taken/` and the directory, and claims the files in the directory. Directories of others are removed when they are
    /// empty; with `sweep`, so are files that were begun a day ago and not finished.
    pub(super) fn look(&self, sweep: bool) -> io::Result<Look> {
        let mut look = Look::default();
        for entry in Dir::read_from(&self.taken)? {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                _ if look.names.len() >= NAMES => look.more = true,
                _ => look.names.push(entry.file_name().to_owned()),
            }
        }
        let mut tried = 0;
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_bytes() {
                b"." | b".." => {}
                bytes if bytes == TAKEN.as_bytes() || bytes == REFUSED.as_bytes() => {}
                [b'.', ..] => {
                    if sweep {
                        self.sweep(name);
                    }
                }
                _ if entry.file_type() == FileType::Directory => {
                    tried += 1;
                    if tried > DIRECTORIES || unlinkat(&self.dir, name, AtFlags::REMOVEDIR).is_err() {
                        look.stuck += 1;
                    }
                }
                _ if look.names.len() >= NAMES => look.more = true,
                _ => match self.claim(name) {
                    Ok(true) => look.names.push(name.to_owned()),
                    Ok(false) => {}
                    Err(errno) => {
                        let (name, error) = (name.to_string_lossy(), io::Error::from(errno));
                        look.unclaimed = Some(format!("{} cannot be claimed: {error}", visible(&name)));
                    }
                },
            }
        }
        Ok(look)
    }

    /// Moves the file of this name to `taken/`. `false`: it no longer exists, or another file of this name waits there.
    fn claim(&self, name: &CStr) -> Result<bool, Errno> {
        // Checked beforehand, since not all file systems have RENAME_NOREPLACE; only the service makes names there.
        match statat(&self.taken, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => rename(&self.dir, name, &self.taken, name),
            Err(errno) => Err(errno),
        }
    }

    /// Removes files that were begun a day ago: their submission was never confirmed.
    fn sweep(&self, name: &CStr) {
        let Ok(found) = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        if SystemClock.now().since(modified(found.st_mtime, 0)) > ABANDONED {
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
        }
    }

    /// Reads a file in `taken/`. `room` is called with its size before it is read, and holds memory for it.
    pub(super) fn read<H>(
        &self,
        name: &CStr,
        room: impl FnOnce(u64) -> Option<H>,
    ) -> Result<Left<H>, NotTaken> {
        let bad = |why: &str| Err(NotTaken::Bad(why.to_owned()));
        // Checked before it is opened: opening a device can have an effect.
        let found = statat(&self.taken, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::RegularFile {
            let link = kind == FileType::Symlink;
            return bad(if link {
                "is a symbolic link"
            } else {
                "is not a regular file"
            });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.taken, name, flags, Mode::empty())?;
        let found = fstat(&file)?;
        // Ours stays: a user who made a name here for the file of another user cannot remove it again.
        if found.st_nlink != 1 {
            return bad("has more than one name: its owner may not be who left it");
        }
        let most = format::max_file(self.limits);
        let size = u64::try_from(found.st_size).unwrap_or(0);
        if size > most {
            return bad("is larger than a message may be");
        }
        // There may be memory for a smaller one.
        let no_room = || NotTaken::Waits("the memory for arriving mail is in use".to_owned());
        let held = room(size).ok_or_else(no_room)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let read = File::from(file).take(size + 1).read_to_end(&mut bytes);
        match read {
            Err(error) => Err(NotTaken::Waits(error.to_string())),
            Ok(read) if u64::try_from(read).ok() != Some(size) => bad("changed while it was read"),
            Ok(_) => Ok(Left {
                user: found.st_uid,
                inode: found.st_ino,
                at: modified(found.st_mtime, i64::try_from(found.st_mtime_nsec).unwrap_or(0)),
                bytes,
                held,
            }),
        }
    }

    /// Removes a file in `taken/` whose message is on the spool.
    pub(super) fn remove(&self, name: &CStr) -> io::Result<()> {
        match unlinkat(&self.taken, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The identity of the file of this name in `taken/`.
    pub(super) fn identity(&self, name: &CStr) -> io::Result<FileIdentity> {
        let found = statat(&self.taken, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileIdentity {
            inode: found.st_ino,
            changed: (found.st_ctime, found.st_ctime_nsec.cast_signed()),
        })
    }

    /// Moves the file of this name from `taken/` to `refused/`; returns its name there.
    pub(super) fn refuse(&self, name: &CStr) -> io::Result<PathBuf> {
        let kept = FlowId::random().to_string();
        let to = CString::new(kept.as_str())?;
        // Someone who may enter may have removed it: then nothing is left to refuse.
        rename(&self.taken, name, &self.refused, &to)?;
        Ok(Path::new(REFUSED).join(kept))
    }
}

/// Moves a file; `false` when it no longer exists.
fn rename(from: &OwnedFd, name: &CStr, to: &OwnedFd, new: &CStr) -> Result<bool, Errno> {
    match renameat(from, name, to, new) {
        Ok(()) => Ok(true),
        // Unless it is the directory `to` that is gone: then it has no name any more.
        Err(Errno::NOENT) if fstat(to)?.st_nlink > 0 => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The directory `path`, which must be the service's; created if it is missing, so that only the service may enter it.
fn opened(at: impl AsFd, path: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match mkdirat(&at, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(told("cannot be made", errno)),
    }
    let dir = openat(at, path, flags, Mode::empty());
    let dir = dir.map_err(|errno| told("cannot be opened as a directory", errno))?;
    let owner = fstat(&dir)
        .map_err(|errno| told("cannot be looked at", errno))?
        .st_uid;
    let us = nix::unistd::geteuid().as_raw();
    match owner == us {
        true => Ok(dir),
        false => Err(format!(
            "belongs to the user {owner}, and must belong to the service's, {us}"
        )),
    }
}

/// `dir` with `mode`, as far as the bits in `mask` go.
fn with_mode(dir: OwnedFd, mode: u32, mask: u32) -> Result<OwnedFd, String> {
    let found = fstat(&dir).map_err(|errno| told("cannot be looked at", errno))?;
    if found.st_mode & mask != mode {
        let changed = fchmod(&dir, Mode::from_raw_mode(mode));
        changed.map_err(|errno| told(&format!("cannot be given the mode {mode:04o}"), errno))?;
    }
    Ok(dir)
}

fn told(what: &str, errno: Errno) -> String {
    format!("{what}: {}", io::Error::from(errno))
}

/// A time of modification, which the owner can set to any value.
fn modified(seconds: i64, nanos: i64) -> Timestamp {
    let millis = seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000);
    Timestamp(millis.clamp(0, LAST_DATE))
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
