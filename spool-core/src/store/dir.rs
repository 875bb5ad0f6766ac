//! The spool directory: its owner, its format, its creation, and the lock on it.
//!
//! A directory that is not a spool, has a newer format, is in use, or has a link in place of a subdirectory is not
//! changed. Permissions of others on a spool are removed. A creation that was interrupted at any point is continued.
//! `FORMAT` is written last: with it, a directory is a spool.

use super::error::{Attempted as _, OpenError};
use super::fs::{Fs, FsFile, Mode, RealFs, ops};
use super::layout::{self, CORRUPT, JOURNAL};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the directory's format, and the oldest one that is read.
const FORMAT: u32 = 3;
const OLDEST: u32 = 1;
/// The mode bits of other users, and those that let them write.
const OTHERS: u32 = 0o077;
const WRITERS: u32 = 0o022;

/// The locks on a spool, released when they are dropped.
#[derive(Debug)]
pub(super) struct DirLock {
    /// The directory is locked as well as the file: a deleted lock file must not let a second process in.
    pub(super) dir: Arc<dyn FsFile>,
    pub(super) file: Arc<dyn FsFile>,
}

impl DirLock {
    /// Locks `dir`, creates it if it is missing, and makes it a spool if it is not one yet.
    pub(super) fn acquire(fs: &dyn Fs, dir: &Path) -> Result<Self, OpenError> {
        make_missing(fs, dir)?;
        check_owner(fs, dir)?;
        examine(fs, dir)?;
        let locked_dir = lock_dir(fs, dir)?;
        let lock = lock(fs, dir)?;
        // If the path of the spool is a link, the operator chose so, and it is followed.
        tighten(fs, &dir.join("."))?;
        // Again, under the lock: another process may have finished the creation meanwhile.
        let is_spool = examine(fs, dir)?;
        for path in layout::DIRECTORIES.map(|name| dir.join(name)) {
            tighten(fs, &path)?;
        }
        for name in [JOURNAL, CORRUPT] {
            let path = dir.join(name);
            ops::ensure_dir(fs, &path).on("make", &path)?;
        }
        // Also syncs names that another process created but did not sync.
        fs.sync_dir(dir).on("sync", dir)?;
        if !is_spool {
            // The spool's own name is synced before FORMAT is written: no later start does it. An interrupted creation
            // may have left it unsynced.
            let parent = parent(dir);
            fs.sync_dir(&parent).on("sync", &parent)?;
            write_format(fs, dir)?;
        }
        let pid = format!("{}\n", std::process::id());
        let path = dir.join(layout::LOCK);
        lock.set_len(0).on("write", &path)?;
        lock.write_at(0, pid.as_bytes()).on("write", &path)?;
        Ok(Self {
            dir: locked_dir,
            file: lock,
        })
    }
}

/// Checks without the lock that `dir` is a spool of a known format.
pub(super) fn check(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match examine(fs, dir)? {
        true => Ok(()),
        false => Err(OpenError::NotASpool(dir.to_owned())),
    }
}

/// Checks whether the directory `dir` is a spool or can become one. It takes no lock and changes nothing.
///
/// # Errors
/// As opening it would return: another owner, not a spool, a newer format, or unreadable.
pub fn examine_dir(dir: &Path) -> Result<(), OpenError> {
    check_owner(&RealFs, dir)?;
    examine(&RealFs, dir).map(drop)
}

fn check_owner(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match fs.foreign_owner(dir).on("look at", dir)? {
        Some(owner) => Err(OpenError::ForeignOwner {
            dir: dir.to_owned(),
            owner,
        }),
        None => Ok(()),
    }
}

fn make_missing(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match fs.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.make_dir(dir).on("make", dir)?;
            let parent = parent(dir);
            fs.sync_dir(&parent).on("sync", &parent)
        }
        Err(error) => Err(OpenError::io("list", dir, error)),
    }
}

fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => dir.to_owned(),
    }
}

/// Removes the permissions of other users from a directory. The directory must belong to this user.
fn tighten(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let mode = match fs.dir_mode(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        mode => mode.on("use", dir)?,
    };
    check_owner(fs, dir)?;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    if mode & WRITERS == 0 {
        tracing::info!(dir = %dir.display(), mode = format!("{mode:03o}"), "removed the permissions of other users: mode 700");
    } else {
        tracing::warn!(dir = %dir.display(), mode = format!("{mode:03o}"), "other users could write here; removed their permissions: mode 700");
    }
    fs.close_dir(dir).on("close to others", dir)
}

/// Whether it is a spool of a known format; otherwise it is empty, or an interrupted creation.
fn examine(fs: &dyn Fs, dir: &Path) -> Result<bool, OpenError> {
    let names = fs.list(dir).on("list", dir)?;
    // A link would lead outside the spool.
    for path in layout::DIRECTORIES.map(|name| dir.join(name)) {
        match fs.dir_mode(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::io("use", &path, error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    if names.iter().any(|name| name == layout::FORMAT) {
        return read_format(fs, dir).map(|_| true);
    }
    for name in &names {
        let ours = match name.as_str() {
            layout::LOCK | layout::FORMAT_DRAFT => true,
            JOURNAL | CORRUPT => fs.list(&dir.join(name)).is_ok_and(|inside| inside.is_empty()),
            _ => false,
        };
        if !ours {
            let dir = dir.to_owned();
            return Err(match names.iter().any(|name| name == JOURNAL) {
                true => OpenError::NoFormat(dir),
                false => OpenError::NotASpool(dir),
            });
        }
    }
    Ok(false)
}

/// The version in `FORMAT`, if it is a known one.
fn read_format(fs: &dyn Fs, dir: &Path) -> Result<u32, OpenError> {
    let path = dir.join(layout::FORMAT);
    let file = fs.open(&path, Mode::Read).on("open", &path)?;
    let text = head_of(&*file).on("read", &path)?;
    let Some(found) = text.strip_prefix("spool ") else {
        return Err(OpenError::NotASpool(dir.to_owned()));
    };
    let found = found.trim_end();
    if let Ok(known @ OLDEST..=FORMAT) = found.parse() {
        return Ok(known);
    }
    Err(OpenError::NewerFormat {
        dir: dir.to_owned(),
        found: found.to_owned(),
        known: FORMAT,
    })
}

/// The start of a small file, as text.
fn head_of(file: &dyn FsFile) -> io::Result<String> {
    let mut bytes = [0; 64];
    let count = file.read_at(0, &mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned())
}

/// Locks the directory, before anything is created in it.
fn lock_dir(fs: &dyn Fs, dir: &Path) -> Result<Arc<dyn FsFile>, OpenError> {
    let open = fs.open_dir(dir).on("open", dir)?;
    if open.try_lock().on("lock", dir)? {
        return Ok(open);
    }
    let file = fs.open(&dir.join(layout::LOCK), Mode::Read);
    let pid = file.ok().and_then(|file| holder(&*file));
    let dir = dir.to_owned();
    Err(OpenError::Locked { dir, pid })
}

/// The process id in a lock file.
fn holder(file: &dyn FsFile) -> Option<u32> {
    head_of(file).ok().and_then(|text| text.trim().parse().ok())
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Arc<dyn FsFile>, OpenError> {
    let path = dir.join(layout::LOCK);
    let file = ops::open_or_create(fs, &path).on("open", &path)?;
    if file.is_shared().on("look at", &path)? {
        let why = "it has a second hard link or another owner; remove it";
        return Err(OpenError::io("write", &path, io::Error::other(why)));
    }
    if file.try_lock().on("lock", &path)? {
        return Ok(file);
    }
    let pid = holder(&*file);
    let dir = dir.to_owned();
    Err(OpenError::Locked { dir, pid })
}

/// Upgrades a spool of an older format, before anything is written that an older program does not know. Only `FORMAT`
/// changes: older frames and files stay readable. After a crash the spool has one of the two formats.
pub(super) fn upgrade(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let old = read_format(fs, dir)?;
    if old == FORMAT {
        return Ok(());
    }
    write_format(fs, dir)?;
    tracing::info!(dir = %dir.display(), from = old, to = FORMAT, "upgraded the format of the spool; older programs refuse it");
    Ok(())
}

/// Writes `FORMAT`, atomically and durably.
fn write_format(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let (path, draft) = (dir.join(layout::FORMAT), dir.join(layout::FORMAT_DRAFT));
    let text = format!("spool {FORMAT}\n");
    ops::replace(fs, &path, &draft, text.as_bytes()).on("write", &path)
}
