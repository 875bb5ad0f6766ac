//! Errors of writing to the journal.

use crate::store::error::{Failure, StoreError};
use crate::store::fs::is_shortage;
use std::io;

/// Why a change was not written.
#[derive(Debug)]
pub(in crate::store) enum WriteError {
    /// Only this change is refused, and no part of it is written.
    Refused(StoreError),
    /// The content of the disk is unknown, or the file is no longer part of the spool.
    Failed(Failure),
}

impl WriteError {
    pub(super) fn full(text: impl Into<String>) -> Self {
        Self::Refused(StoreError::Full(text.into()))
    }

    pub(super) fn doubt(text: &str) -> Self {
        Self::Failed(Failure::Disk(text.to_owned()))
    }

    /// A file could not be created or opened; nothing was changed.
    pub(super) fn refused(action: &str, error: &io::Error) -> Self {
        let text = format!("{action}: {error}");
        Self::Refused(match is_shortage(error) {
            true => StoreError::Shortage(text),
            false => StoreError::Full(text),
        })
    }

    pub(super) fn disk(action: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed(Failure::Disk(format!("{action}: {error}")))
    }
}
