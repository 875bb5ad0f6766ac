//! Reads the files that a configuration names: only regular files, and only up to a size. Reading a pipe or a device could block
//! forever.

use rustix::fs::OFlags;
use std::fmt::Display;
use std::fs::{File, FileType, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Permissions of others than the owner.
pub(crate) const OTHERS: u32 = 0o077;
/// Permissions of others than the owner, except that the group may read.
pub(crate) const OTHERS_THAN_READERS: u32 = 0o037;

/// The bytes of `path`, at most `most`.
///
/// # Errors
/// Why it cannot be read, without its name.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    let too_large = || format!("larger than {most} bytes");
    let read = file.take(most + 1).read_to_end(&mut bytes);
    match read.map_err(|error| error.to_string())? {
        read if u64::try_from(read).is_ok_and(|read| read <= most) => Ok(bytes),
        _ => Err(too_large()),
    }
}

/// The text of `path`, at most `most` bytes.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, String> {
    String::from_utf8(read(path, most)?).map_err(|_| "is not UTF-8 text".to_owned())
}

/// What `parse` makes of the bytes of `path`, at most `most`.
///
/// # Errors
/// The path, and why it cannot be read or parsed.
pub(crate) fn parse<T, E: Display>(
    path: &Path,
    most: u64,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, String> {
    let parsed = read(path, most).and_then(|bytes| parse(&bytes).map_err(|error| error.to_string()));
    parsed.map_err(|why| format!("{}: {why}", path.display()))
}

/// The same of its text.
///
/// # Errors
/// As [`parse`], and when it is not UTF-8.
pub(crate) fn parse_text<T, E: Display>(
    path: &Path,
    most: u64,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    let parsed = read_text(path, most).and_then(|text| parse(&text).map_err(|error| error.to_string()));
    parsed.map_err(|why| format!("{}: {why}", path.display()))
}

/// Opens a file without waiting for the other end of a pipe. A device is not opened, because opening can have an effect.
fn open(path: &Path) -> Result<File, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    regular(found.file_type())?;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| error.to_string())?;
    // The file may have been replaced.
    let found = file.metadata().map_err(|error| error.to_string())?;
    regular(found.file_type()).map(|()| file)
}

fn regular(kind: FileType) -> Result<(), String> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(format!("is {what}, and must be a regular file"))
}

/// Makes the file `path` of these parts with its mode, whatever the umask is, and syncs it. A file or a link that exists is not touched.
pub(crate) fn create(path: &Path, mode: u32, parts: &[&[u8]]) -> io::Result<File> {
    let mut new = OpenOptions::new();
    let mut file = new.write(true).create_new(true).mode(0o600).open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(file)
}

/// The directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir == Path::new("") => Path::new("."),
        dir => dir.unwrap_or(Path::new("/")),
    }
}

/// The permissions of `path`, when they have any of those in `others`.
pub(crate) fn open_to(others: u32, path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & others != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_more_of_them_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"0123456789");
        assert!(read(&path, 9).unwrap_err().contains("larger than 9 bytes"));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path, 10).unwrap_err().contains("UTF-8"));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(read(&pipe, 10).unwrap_err().contains("a pipe"));
        assert!(read(dir.path(), 10).unwrap_err().contains("a directory"));
        assert!(read(Path::new("/dev/null"), 10).unwrap_err().contains("a device"));
        assert!(read(&dir.path().join("missing"), 10).is_err());
    }

    #[test]
    fn permissions_of_others_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        for (mode, owner, group) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o604, false, false),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let told = |closed: bool| (!closed).then_some(mode);
            assert_eq!(open_to(OTHERS, &path), told(owner), "{mode:o}");
            assert_eq!(open_to(OTHERS_THAN_READERS, &path), told(group), "{mode:o}");
        }
    }
}
