//! The spool directory itself: whose it is, what format it has, how it is made, and the lock on it.
//!
//! A directory that is no spool, or one of a newer format, or one in use, is left as it is; so is one with a link in the place
//! of a directory inside. A spool that others may read or write is closed to them. A creation that was cut
//! off at any point is taken up again. `FORMAT` is the last thing to come: with it a directory is a spool.

use super::event_log::EVENTS;
use super::fs::{Fs, FsDir, FsFile, Mode, RealFs};
use super::key_log::KEYS;
use super::replay::io_error;
use super::{OpenError, Shelf};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the directory's format, and the oldest one that is read.
const FORMAT: u32 = 3;
const OLDEST: u32 = 1;
pub(super) const FORMAT_FILE: &str = "FORMAT";
const FORMAT_DRAFT: &str = "FORMAT.tmp";
pub(super) const LOCK_FILE: &str = "lock";
/// The directory of the journal.
pub(super) const JOURNAL: &str = "journal";
/// The directory of what could not be read.
pub(super) const CORRUPT: &str = "corrupt";

/// Every directory inside.
const INNER: [&str; 6] = [
    JOURNAL,
    CORRUPT,
    EVENTS,
    KEYS,
    Shelf::Removed.name(),
    Shelf::Quarantine.name(),
];
/// Bits of others than the owner, and those with which they could change something.
const OTHERS: u32 = 0o077;
const WRITERS: u32 = 0o022;

/// Whether a directory is a spool, or may become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Of this format.
    Spool(u32),
    /// Empty, or a creation that was cut off.
    Unfinished,
}

/// The locks on a spool; it is free when they are dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// Locked as well as the file: a lock file that was deleted opens no door.
    pub(super) dir: Arc<dyn FsDir>,
    pub(super) lock: Arc<dyn FsFile>,
}

/// Makes `dir` this process's own: locks it, and makes of it a spool if it is none yet. The lock lasts as long as
/// what is given back.
pub(super) fn claim(fs: &dyn Fs, dir: &Path) -> Result<Claim, OpenError> {
    make_missing(fs, dir)?;
    if let Some(owner) = fs.foreign_owner(dir).map_err(io_error("look at", dir))? {
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
    for path in INNER.map(|name| dir.join(name)) {
        tighten(fs, &path)?;
    }
    for name in [JOURNAL, CORRUPT] {
        let path = dir.join(name);
        match fs.make_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("make", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Names that another process made and did not live to sync, too: from here on they are built on.
    fs.sync_dir(dir).map_err(io_error("sync", dir))?;
    if found == Found::Unfinished {
        // The spool's own name lasts before FORMAT says that it is a spool: no later start looks after it. A creation that was
        // cut off may have left it unsynced.
        let parent = parent(dir);
        fs.sync_dir(&parent).map_err(io_error("sync", &parent))?;
        write_format(fs, dir)?;
    }
    let pid = format!("{}\n", std::process::id());
    let path = dir.join(LOCK_FILE);
    lock.set_len(0).map_err(io_error("write", &path))?;
    lock.write_at(0, pid.as_bytes())
        .map_err(io_error("write", &path))?;
    Ok(Claim {
        dir: locked_dir,
        lock,
    })
}

/// Checks, from outside, that `dir` is a spool of a known format.
pub(super) fn check(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match examine(fs, dir)? {
        Found::Spool(_) => Ok(()),
        Found::Unfinished => Err(OpenError::NotASpool(dir.to_owned())),
    }
}

/// Whether `dir`, which is there, is a spool or may become one. It takes no lock and changes nothing.
///
/// # Errors
/// As opening it would answer: whose it is, that it is no spool, or of a newer format, or cannot be read.
pub fn examine_dir(dir: &Path) -> Result<(), OpenError> {
    let fs = RealFs;
    if let Some(owner) = fs.foreign_owner(dir).map_err(io_error("look at", dir))? {
        let dir = dir.to_owned();
        return Err(OpenError::ForeignOwner { dir, owner });
    }
    examine(&fs, dir).map(drop)
}

fn make_missing(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    match fs.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.make_dir(dir).map_err(io_error("make", dir))?;
            let parent = parent(dir);
            fs.sync_dir(&parent).map_err(io_error("sync", &parent))
        }
        Err(error) => Err(io_error("list", dir)(error)),
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
        mode => mode.map_err(io_error("use", dir))?,
    };
    if let Some(owner) = fs.foreign_owner(dir).map_err(io_error("look at", dir))? {
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
    fs.close_dir(dir).map_err(io_error("close to others", dir))
}

fn examine(fs: &dyn Fs, dir: &Path) -> Result<Found, OpenError> {
    let names = fs.list(dir).map_err(io_error("list", dir))?;
    // A link would lead somewhere else, and what is done there would not be ours.
    for path in INNER.map(|name| dir.join(name)) {
        match fs.dir_mode(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("use", &path)(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    if names.iter().any(|name| name == FORMAT_FILE) {
        return read_format(fs, dir).map(Found::Spool);
    }
    for name in &names {
        let ours = match name.as_str() {
            LOCK_FILE | FORMAT_DRAFT => true,
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
    Ok(Found::Unfinished)
}

/// The version in `FORMAT`, when it is one that is read.
fn read_format(fs: &dyn Fs, dir: &Path) -> Result<u32, OpenError> {
    let path = dir.join(FORMAT_FILE);
    let file = fs.open(&path, Mode::Read).map_err(io_error("open", &path))?;
    let text = head_of(&*file).map_err(io_error("read", &path))?;
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
    let open = fs.open_dir(dir).map_err(io_error("open", dir))?;
    if open.try_lock().map_err(io_error("lock", dir))? {
        return Ok(open);
    }
    let file = fs.open(&dir.join(LOCK_FILE), Mode::Read);
    let pid = file.ok().and_then(|file| holder(&*file));
    let dir = dir.to_owned();
    Err(OpenError::Locked { dir, pid })
}

/// The process that a lock file names.
fn holder(file: &dyn FsFile) -> Option<u32> {
    head_of(file).ok().and_then(|text| text.trim().parse().ok())
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Arc<dyn FsFile>, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = match fs.open(&path, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs.open(&path, Mode::Write),
        made => made,
    };
    let file = file.map_err(io_error("open", &path))?;
    if file.is_shared().map_err(io_error("look at", &path))? {
        let why = "it has a second name or another owner; take it away";
        return Err(io_error("write", &path)(io::Error::other(why)));
    }
    if file.try_lock().map_err(io_error("lock", &path))? {
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
    let draft = dir.join(FORMAT_DRAFT);
    match fs.unlink(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("unlink", &draft)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let file = fs.open(&draft, Mode::Create).map_err(io_error("make", &draft))?;
    let text = format!("spool {FORMAT}\n");
    file.write_at(0, text.as_bytes())
        .and_then(|()| file.sync_data())
        .map_err(io_error("write", &draft))?;
    fs.rename(&draft, &dir.join(FORMAT_FILE))
        .map_err(io_error("rename", &draft))?;
    fs.sync_dir(dir).map_err(io_error("sync", dir))
}
