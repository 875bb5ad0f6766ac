//! The spool directory itself: whose it is, what format it has, how it is made, and the lock on it.
//!
//! A directory that is no spool, or one of a newer format, or one in use, is left as it is; so is one with a link in the place
//! of a directory inside. A spool that others may read or write is closed to them. A creation that was cut
//! off at any point is taken up again. `FORMAT` is the last thing to come: with it a directory is a spool.

use super::error::OpenError;
use super::fs::{Fs, FsDir, FsFile, Mode, RealFs, ops};
use super::layout::{self, CORRUPT, JOURNAL};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the directory's format, and the oldest one that is read.
const FORMAT: u32 = 3;
const OLDEST: u32 = 1;
/// Bits of others than the owner, and those with which they could change something.
const OTHERS: u32 = 0o077;
const WRITERS: u32 = 0o022;

/// Whether a directory is a spool, or may become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DirKind {
    /// Of this format.
    Spool(u32),
    /// Empty, or a creation that was cut off.
    Unfinished,
}

/// The locks on a spool; it is free when they are dropped.
#[derive(Debug)]
pub(super) struct DirLock {
    /// Locked as well as the file: a lock file that was deleted opens no door.
    pub(super) dir: Arc<dyn FsDir>,
    pub(super) file: Arc<dyn FsFile>,
}

impl DirLock {
    /// Makes `dir` this process's own: locks it, and makes of it a spool if it is none yet. The lock lasts as long as
    /// what is given back.
    pub(super) fn acquire(fs: &dyn Fs, dir: &Path) -> Result<Self, OpenError> {
        make_missing(fs, dir)?;
        if let Some(owner) = fs.foreign_owner(dir).map_err(OpenError::io("look at", dir))? {
            let dir = dir.to_owned();
            return Err(OpenError::ForeignOwner { dir, owner });
        }
        examine(fs, dir)?;
        let locked_dir = lock_dir(fs, dir)?;
        let lock = lock(fs, dir)?;
        // Followed, if it is a link itself: the operator's choice. What is inside is ours.
        tighten(fs, &dir.join("."))?;
        // Again, behind the lock and closed to others: another process may just have finished the creation.
        let found = examine(fs, dir)?;
        for path in layout::DIRECTORIES.map(|name| dir.join(name)) {
            tighten(fs, &path)?;
        }
        for name in [JOURNAL, CORRUPT] {
            let path = dir.join(name);
            ops::ensure_dir(fs, &path).map_err(OpenError::io("make", &path))?;
        }
        // Names that another process made and did not live to sync, too: from here on they are built on.
        fs.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
        if found == DirKind::Unfinished {
            // The spool's own name lasts before FORMAT says that it is a spool: no later start looks after it. A creation that was
            // cut off may have left it unsynced.
            let parent = parent(dir);
            fs.sync_dir(&parent).map_err(OpenError::io("sync", &parent))?;
            write_format(fs, dir)?;
        }
        let pid = format!("{}\n", std::process::id());
        let path = dir.join(layout::LOCK);
        lock.set_len(0).map_err(OpenError::io("write", &path))?;
        lock.write_at(0, pid.as_bytes())
            .map_err(OpenError::io("write", &path))?;
        Ok(Self {
            dir: locked_dir,
            file: lock,
        })
    }
}

/// Checks, from outside, that `dir` is a spool of a known format.
pub(super) fn check(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match examine(fs, dir)? {
        DirKind::Spool(_) => Ok(()),
        DirKind::Unfinished => Err(OpenError::NotASpool(dir.to_owned())),
    }
}

/// Whether `dir`, which is there, is a spool or may become one. It takes no lock and changes nothing.
///
/// # Errors
/// As opening it would answer: whose it is, that it is no spool, or of a newer format, or cannot be read.
pub fn examine_dir(dir: &Path) -> Result<(), OpenError> {
    let fs = RealFs;
    if let Some(owner) = fs.foreign_owner(dir).map_err(OpenError::io("look at", dir))? {
        let dir = dir.to_owned();
        return Err(OpenError::ForeignOwner { dir, owner });
    }
    examine(&fs, dir).map(drop)
}

fn make_missing(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match fs.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.make_dir(dir).map_err(OpenError::io("make", dir))?;
            let parent = parent(dir);
            fs.sync_dir(&parent).map_err(OpenError::io("sync", &parent))
        }
        Err(error) => Err(OpenError::io("list", dir)(error)),
    }
}

fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => dir.to_owned(),
    }
}

/// Nobody else may read mail, or put something in its place. A directory of someone else's is not made ours.
fn tighten(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let mode = match fs.dir_mode(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        mode => mode.map_err(OpenError::io("use", dir))?,
    };
    if let Some(owner) = fs.foreign_owner(dir).map_err(OpenError::io("look at", dir))? {
        let dir = dir.to_owned();
        return Err(OpenError::ForeignOwner { dir, owner });
    }
    if mode & OTHERS == 0 {
        return Ok(());
    }
    if mode & WRITERS == 0 {
        tracing::info!(dir = %dir.display(), mode = format!("{mode:03o}"), "closed to others: mode 700");
    } else {
        tracing::warn!(dir = %dir.display(), mode = format!("{mode:03o}"), "others could write here; closed to them: mode 700");
    }
    fs.close_dir(dir).map_err(OpenError::io("close to others", dir))
}

fn examine(fs: &dyn Fs, dir: &Path) -> Result<DirKind, OpenError> {
    let names = fs.list(dir).map_err(OpenError::io("list", dir))?;
    // A link would lead somewhere else, and what is done there would not be ours.
    for path in layout::DIRECTORIES.map(|name| dir.join(name)) {
        match fs.dir_mode(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::io("use", &path)(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    if names.iter().any(|name| name == layout::FORMAT) {
        return read_format(fs, dir).map(DirKind::Spool);
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
    Ok(DirKind::Unfinished)
}

/// The version in `FORMAT`, when it is one that is read.
fn read_format(fs: &dyn Fs, dir: &Path) -> Result<u32, OpenError> {
    let path = dir.join(layout::FORMAT);
    let file = fs.open(&path, Mode::Read).map_err(OpenError::io("open", &path))?;
    let text = head_of(&*file).map_err(OpenError::io("read", &path))?;
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

/// The first line's worth of a small file.
fn head_of(file: &dyn FsFile) -> io::Result<String> {
    let mut bytes = [0; 64];
    let count = file.read_at(0, &mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned())
}

/// Before anything is made in it.
fn lock_dir(fs: &dyn Fs, dir: &Path) -> Result<Arc<dyn FsDir>, OpenError> {
    let open = fs.open_dir(dir).map_err(OpenError::io("open", dir))?;
    if open.try_lock().map_err(OpenError::io("lock", dir))? {
        return Ok(open);
    }
    let file = fs.open(&dir.join(layout::LOCK), Mode::Read);
    let pid = file.ok().and_then(|file| holder(&*file));
    let dir = dir.to_owned();
    Err(OpenError::Locked { dir, pid })
}

/// The process that a lock file names.
fn holder(file: &dyn FsFile) -> Option<u32> {
    head_of(file).ok().and_then(|text| text.trim().parse().ok())
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Arc<dyn FsFile>, OpenError> {
    let path = dir.join(layout::LOCK);
    let file = ops::open_or_create(fs, &path).map_err(OpenError::io("open", &path))?;
    if file.is_shared().map_err(OpenError::io("look at", &path))? {
        let why = "it has a second name or another owner; take it away";
        return Err(OpenError::io("write", &path)(io::Error::other(why)));
    }
    if file.try_lock().map_err(OpenError::io("lock", &path))? {
        return Ok(file);
    }
    let pid = holder(&*file);
    let dir = dir.to_owned();
    Err(OpenError::Locked { dir, pid })
}

/// Makes a spool of an older format one of this format, before anything is written that an older program does not know. Only `FORMAT`
/// changes: what older frames and files hold is read for ever. After a crash it is of one format or of the other.
pub(super) fn upgrade(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let old = read_format(fs, dir)?;
    if old == FORMAT {
        return Ok(());
    }
    write_format(fs, dir)?;
    tracing::info!(dir = %dir.display(), from = old, to = FORMAT, "the spool has a newer format now: older programs refuse it");
    Ok(())
}

/// Writes `FORMAT`, durably and at once.
fn write_format(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let draft = dir.join(layout::FORMAT_DRAFT);
    let file = ops::create_anew(fs, &draft).map_err(OpenError::io("make", &draft))?;
    let text = format!("spool {FORMAT}\n");
    file.write_at(0, text.as_bytes())
        .and_then(|()| file.sync_data())
        .map_err(OpenError::io("write", &draft))?;
    fs.rename(&draft, &dir.join(layout::FORMAT))
        .map_err(OpenError::io("rename", &draft))?;
    fs.sync_dir(dir).map_err(OpenError::io("sync", dir))
}
