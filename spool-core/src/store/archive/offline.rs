//! Archived messages read without the spool's lock, and messages exported as pairs.

use super::dir::ArchiveDir;
use super::error::PairError;
use crate::archive::{Shelf, Shelved};
use crate::id::MessageId;
use crate::store::dir;
use crate::store::error::OpenError;
use crate::store::fs::RealFs;
use bytes::Bytes;
use std::io;
use std::path::Path;

/// What lies on `shelf` of the spool in `dir`, without its lock and beside a running one.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool or cannot be read.
pub fn shelf_from_disk(
    dir: &Path,
    shelf: Shelf,
    each: &mut dyn FnMut(MessageId, Result<Shelved, String>),
) -> Result<(), OpenError> {
    dir::check(&RealFs, dir)?;
    let archive = ArchiveDir::new(&RealFs, dir, shelf);
    let ids = archive
        .ids()
        .map_err(OpenError::io("list", &dir.join(shelf.name())))?;
    for id in ids {
        each(id, archive.look(id).map_err(PairError::reason));
    }
    Ok(())
}

/// The text of a message on `shelf` of the spool in `dir`, without its lock; `None` when it is not there.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool; in the inner result, what is wrong with the file. A symbolic link is none.
pub fn shelved_text_from_disk(
    dir: &Path,
    shelf: Shelf,
    id: MessageId,
) -> Result<Option<Result<Bytes, String>>, OpenError> {
    dir::check(&RealFs, dir)?;
    let text = ArchiveDir::new(&RealFs, dir, shelf).text_if_there(id);
    Ok(text.map(|text| text.map_err(PairError::reason)))
}

/// Writes a message as a pair of plain files into `dir`, as they lie on a shelf: durable when this answers. A pair of the
/// same name is replaced.
///
/// # Errors
/// Those of the file system; the pair is not there then, or not whole.
pub fn export_pair(dir: &Path, shelved: Shelved, body: Bytes) -> io::Result<()> {
    let laid = ArchiveDir::at(&RealFs, dir).add(&[(shelved, body)]);
    laid.into_iter().collect()
}
