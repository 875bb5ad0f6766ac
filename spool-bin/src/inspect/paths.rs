//! Directories and sockets in the file system.

use super::finding::Findings;
use crate::config::Config;
use crate::files;
use rustix::fs::{Access, access};
use spool_core::store::examine_dir;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub(super) fn spool_dir(config: &Config, found: &mut Findings<'_>) {
    let (dir, place) = (&config.spool.dir, "spool_dir");
    if std::fs::symlink_metadata(dir).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return may_make("a directory", dir, place, found);
    }
    match std::fs::metadata(dir) {
        Ok(data) if !data.is_dir() => found.error_at(place, dir, "is not a directory"),
        Ok(_) => match examine_dir(dir) {
            Ok(()) => {
                let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                may(dir, all, "read and write", place, found);
            }
            Err(error) => found.error(place, error.to_string()),
        },
        Err(error) => found.error_at(place, dir, error),
    }
}

/// The files of Unix sockets: that they can be made, and replace nothing else than a socket.
pub(super) fn unix(config: &Config, found: &mut Findings<'_>) {
    let place = "listen.smtp";
    for (nth, path) in config.unix.iter().enumerate() {
        if config.unix.iter().take(nth).any(|other| other == path) {
            found.error_at(place, path, "is in listen.smtp already");
        }
        match std::fs::symlink_metadata(path) {
            Ok(data) if !data.file_type().is_socket() => {
                found.error_at(place, path, "is something else than a socket");
            }
            Err(error) if error.kind() != ErrorKind::NotFound => found.error_at(place, path, error),
            Ok(_) | Err(_) => may_make("a socket", path, place, found),
        }
    }
}

/// The directory in which mail is left while the service is down: one that others can enter.
pub(super) fn drop_dir(config: &Config, found: &mut Findings<'_>) {
    let (place, Some(dir)) = ("relay.drop_dir", &config.drop_dir) else {
        return;
    };
    if dir.starts_with(&config.spool.dir) {
        found.error_at(place, dir, "is in spool_dir, which other users may not enter");
        return;
    }
    match std::fs::symlink_metadata(dir) {
        Ok(data) if !data.is_dir() => found.error_at(place, dir, "is not a directory"),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => may_make("a directory", dir, place, found),
        Err(error) => found.error_at(place, dir, error),
    }
}

/// Whether `what` can be made at `path`, which is not there.
fn may_make(what: &str, path: &Path, place: &str, found: &mut Findings<'_>) {
    let dir = files::parent(path);
    match std::fs::metadata(dir) {
        Ok(data) if !data.is_dir() => found.error_at(place, dir, "is not a directory"),
        Ok(_) => {
            let verb = format!("make {what} in");
            may(dir, Access::WRITE_OK | Access::EXEC_OK, &verb, place, found);
        }
        Err(error) => found.error_at(place, dir, error),
    }
}

fn may(path: &Path, what: Access, verb: &str, place: &str, found: &mut Findings<'_>) {
    if let Err(error) = access(path, what) {
        let error = io::Error::from(error);
        found.error_at(place, path, format!("may not {verb} it: {error}"));
    }
}
