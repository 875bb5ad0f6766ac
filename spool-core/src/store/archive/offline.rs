//! Archived messages read without the spool's lock, and messages exported as pairs.

use super::dir::ArchiveDir;
use super::metadata::PairError;
use crate::archive::{Archive, Archived};
use crate::id::MessageId;
use crate::store::dir;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::RealFs;
use bytes::Bytes;
use std::io;
use std::path::Path;

/// Calls `each` with the entries of `archive` of the spool `dir`. Needs no lock, and works while a service runs.
///
/// # Errors
/// [`OpenError`] when `dir` is not a spool or cannot be read.
pub fn archive_from_disk(
    dir: &Path,
    archive: Archive,
    each: &mut dyn FnMut(MessageId, Result<Archived, String>),
) -> Result<(), OpenError> {
    dir::check(&RealFs, dir)?;
    let files = ArchiveDir::new(&RealFs, dir, archive);
    let ids = files.ids().on("list", &dir.join(archive.name()))?;
    for id in ids {
        each(id, files.look(id).map_err(PairError::reason));
    }
    Ok(())
}

/// The text of an archived message of the spool `dir`, without the lock; `None` if it is not there.
///
/// # Errors
/// [`OpenError`] when `dir` is not a spool; the inner error says what is wrong with the file. A symbolic link is an
/// error.
pub fn archived_text_from_disk(
    dir: &Path,
    archive: Archive,
    id: MessageId,
) -> Result<Option<Result<Bytes, String>>, OpenError> {
    dir::check(&RealFs, dir)?;
    let text = ArchiveDir::new(&RealFs, dir, archive).text_if_there(id);
    Ok(text.map(|text| text.map_err(PairError::reason)))
}

/// Writes a message as a pair of files into `dir`, as in an archive. Durable when it returns. A pair with the same id
/// is replaced.
///
/// # Errors
/// Errors of the file system; then the pair is missing or incomplete.
pub fn export_pair(dir: &Path, archived: Archived, body: Bytes) -> io::Result<()> {
    let laid = ArchiveDir::at(&RealFs, dir).add(&[(archived, body)]);
    laid.into_iter().collect()
}
