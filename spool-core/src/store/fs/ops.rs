//! Operations that several parts of the store need, made of the calls of [`Fs`].

use super::{Fs, FsFile, Mode, is_unreadable};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are rewritten in one call.
const REWRITTEN: usize = 1 << 20;

/// Creates a file, in place of one with the same name.
pub(in crate::store) fn create_anew(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn FsFile>> {
    match fs.open(path, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs.unlink(path)?;
            fs.open(path, Mode::Create)
        }
        opened => opened,
    }
}

/// Opens a file to write, and creates it if it is missing.
pub(in crate::store) fn open_or_create(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn FsFile>> {
    match fs.open(path, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs.open(path, Mode::Write),
        opened => opened,
    }
}

/// Removes a file; one that is missing is no error.
pub(in crate::store) fn remove(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts a file with these bytes in the place of `path`, atomically and durably. Until it is complete, it is named `draft`, in
/// the same directory.
pub(in crate::store) fn replace(fs: &dyn Fs, path: &Path, draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = create_anew(fs, draft)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    fs.rename(draft, path)?;
    path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
}

/// Creates a directory; one that is there is no error. The name is not synced.
pub(in crate::store) fn ensure_dir(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    match fs.make_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Creates a directory and syncs its name, also when it is there: an earlier sync may have failed.
pub(in crate::store) fn ensure_dir_durably(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    ensure_dir(fs, dir)?;
    dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))
}

/// The names in a directory; none when the directory is missing.
pub(in crate::store) fn names(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<String>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// A whole file, which may have up to `limit` bytes.
pub(in crate::store) fn read_whole(file: &dyn FsFile, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.size()?;
    let bytes = usize::try_from(size).ok().filter(|_| size <= limit);
    let bytes = bytes.ok_or_else(|| io::Error::other(format!("{size} bytes: at most {limit} are read")))?;
    let mut content = vec![0; bytes];
    let read = file.read_at(0, &mut content)?;
    content.truncate(read);
    Ok(content)
}

/// Writes the bytes of a file up to `end` again, in place, so that the next sync covers all of them.
pub(in crate::store) fn rewrite_in_place(file: &dyn FsFile, end: u64) -> io::Result<()> {
    let mut at = 0;
    let mut chunk = vec![0; REWRITTEN];
    while at < end {
        let length = usize::try_from(end - at).map_or(REWRITTEN, |left| left.min(REWRITTEN));
        let chunk = chunk.get_mut(..length).unwrap_or_default();
        match file.read_at(at, chunk) {
            Ok(count) => file.write_at(at, chunk.get(..count).unwrap_or_default())?,
            // An unreadable block stays as it is.
            Err(error) if is_unreadable(&error) => {}
            Err(error) => return Err(error),
        }
        at += length as u64;
    }
    Ok(())
}
