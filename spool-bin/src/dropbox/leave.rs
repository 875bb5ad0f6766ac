//! Leaves a message in the drop directory, with the rights of the user who runs `sendmail`.

use super::format::head;
use crate::files;
use rustix::fs::syncfs;
use spool_core::{Envelope, FlowId};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The mode of the file: the set-group-id bit of the directory gives it the group of the service.
const MODE: u32 = 0o640;

/// Writes `message` with its envelope into `dir`. `Ok` only when the file has its name, and both are on disk.
///
/// # Errors
/// The error of the system; then no file is left.
pub(crate) fn leave(dir: &Path, envelope: &Envelope, message: &[u8]) -> io::Result<()> {
    let head = head(envelope)?;
    let name = FlowId::random().to_string();
    let (begun, done) = (dir.join(format!(".{name}")), dir.join(name));
    let left = files::create(&begun, MODE, &[&head, message]).and_then(|file| {
        fs::rename(&begun, &done)?;
        sync_names(dir, &file)
    });
    if left.is_err() {
        let _ = fs::remove_file(&begun).or_else(|_| fs::remove_file(&done));
    }
    left
}

/// Makes the names in `dir` durable. A directory that the user may not read cannot be opened to be synced: then the whole file
/// system is synced.
fn sync_names(dir: &Path, file: &File) -> io::Result<()> {
    match File::open(dir) {
        Ok(dir) => dir.sync_all(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(syncfs(file)?),
        Err(error) => Err(error),
    }
}
