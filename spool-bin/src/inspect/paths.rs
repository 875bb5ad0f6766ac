//! Directories and sockets in the file system.

use super::finding::Findings;
use crate::config::Config;
use rustix::fs::{Access, access};
use spool_core::store::examine_dir;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub(super) fn spool_dir(config: &Config, found: &mut Findings<'_>) {
    let dir = &config.spool.dir;
    let place = "spool_dir";
    if std::fs::symlink_metadata(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        match std::fs::metadata(parent) {
            Ok(data) if !data.is_dir() => {
                found.error(place, format!("{}: is not a directory", parent.display()));
            }
            Ok(_) => may(
                parent,
                Access::WRITE_OK | Access::EXEC_OK,
                "make a directory in",
                place,
                found,
            ),
            Err(error) => found.error(place, format!("{}: {error}", parent.display())),
        }
        return;
    }
    match std::fs::metadata(dir) {
        Ok(data) if !data.is_dir() => {
            found.error(place, format!("{}: is not a directory", dir.display()));
        }
        Ok(_) => match examine_dir(dir) {
            Ok(()) => {
                let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                may(dir, all, "read and write", place, found);
            }
            Err(error) => found.error(place, error.to_string()),
        },
        Err(error) => found.error(place, format!("{}: {error}", dir.display())),
    }
}

/// The files of Unix sockets: that they can be made, and replace nothing else than a socket.
pub(super) fn unix(config: &Config, found: &mut Findings<'_>) {
    let place = "listen.smtp";
    for (nth, path) in config.unix.iter().enumerate() {
        let told = |why: &str| format!("{}: {why}", path.display());
        if config.unix.iter().take(nth).any(|other| other == path) {
            found.error(place, told("is in listen.smtp already"));
        }
        match std::fs::symlink_metadata(path) {
            Ok(data) if !data.file_type().is_socket() => {
                found.error(place, told("is something else than a socket"));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                found.error(place, told(&error.to_string()));
            }
            Ok(_) | Err(_) => {
                let dir = path.parent().unwrap_or(Path::new("/"));
                let all = Access::WRITE_OK | Access::EXEC_OK;
                may(dir, all, "make a socket in", place, found);
            }
        }
    }
}

/// The directory in which mail is left while the service is down: one that others can enter.
pub(super) fn drop_dir(config: &Config, found: &mut Findings<'_>) {
    let (place, Some(dir)) = ("relay.drop_dir", &config.drop_dir) else {
        return;
    };
    let told = |why: &str| format!("{}: {why}", dir.display());
    if dir.starts_with(&config.spool.dir) {
        found.error(place, told("is in spool_dir, which other users may not enter"));
        return;
    }
    match std::fs::symlink_metadata(dir) {
        Ok(data) if !data.is_dir() => found.error(place, told("is not a directory")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            let all = Access::WRITE_OK | Access::EXEC_OK;
            may(parent, all, "make a directory in", place, found);
        }
        Err(error) => found.error(place, told(&error.to_string())),
    }
}

fn may(path: &Path, what: Access, verb: &str, place: &str, found: &mut Findings<'_>) {
    if let Err(error) = access(path, what) {
        let (path, error) = (path.display(), std::io::Error::from(error));
        found.error(place, format!("{path}: may not {verb} it: {error}"));
    }
}
