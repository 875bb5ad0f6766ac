//! Errors of writing to the journal.

use crate::store::error::{Failure, StoreError};
use crate::store::fs::is_shortage;
use std::io;
use thiserror::Error;

/// Why a change was not written.
#[derive(Debug, Error)]
pub(in crate::store) enum WriteError {
    /// Only this change is refused, and no part of it is written.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// The content of the disk is unknown, or the file is no longer part of the spool.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A file could not be created or opened; nothing was changed.
pub(super) fn refused(action: &str, error: &io::Error) -> StoreError {
    let text = format!("{action}: {error}");
    match is_shortage(error) {
        true => StoreError::Shortage(text),
        false => StoreError::Full(text),
    }
}

/// A write or a sync failed.
pub(super) fn failed(action: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Disk(format!("{action}: {error}"))
}
