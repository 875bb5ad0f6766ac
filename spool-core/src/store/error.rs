//! Errors of the file layer.

use super::fs::is_shortage;
use crate::id::MessageId;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a spool could not be opened or read. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the lock.
    #[error("{}: the spool is in use by {}", dir.display(), match pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Locked {
        /// The spool.
        dir: PathBuf,
        /// The process with the lock, if the lock file names it.
        pid: Option<u32>,
    },
    /// A directory with other content.
    #[error("{}: not empty and not a spool; give an empty or a new directory", .0.display())]
    NotASpool(PathBuf),
    /// A spool whose `FORMAT` is missing.
    #[error(
        "{}: there is a journal, but no FORMAT: do not empty it, it may hold mail; if this was a spool, restore the file FORMAT, or write the \
         line that docs/spool-format.md gives for its version",
        .0.display()
    )]
    NoFormat(PathBuf),
    /// Written by a newer program.
    #[error("{}: the spool has format {found}, this program reads up to {known}; use the newer program", dir.display())]
    NewerFormat {
        /// The spool.
        dir: PathBuf,
        /// The format found.
        found: String,
        /// The newest format that this program reads.
        known: u32,
    },
    /// The directory belongs to another user.
    #[error("{}: the spool belongs to another user (uid {owner})", dir.display())]
    ForeignOwner {
        /// The spool.
        dir: PathBuf,
        /// The owner's uid.
        owner: u32,
    },
    /// A system call failed.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl OpenError {
    /// Converts an error of the system in doing `action` with `path`.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { action, path, source }
    }
}

/// Says what was attempted, and with which path, where the system refused it.
pub(super) trait Attempted<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, OpenError>;
}

impl<T> Attempted<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, OpenError> {
        self.map_err(|error| OpenError::io(action, path, error))
    }
}

/// Why a store accepts no more changes until it is opened again. The first failure is kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// A write or a sync failed.
    #[error("{0}")]
    Disk(String),
    /// The existing messages cannot be read.
    #[error("the existing messages cannot be loaded: {0}")]
    Load(String),
    /// A file or a directory of the spool was deleted, moved or replaced.
    #[error("{0}")]
    FilesTaken(String),
    /// The owner of the store does not know what it wrote.
    #[error("{0}")]
    Abandoned(String),
    /// It was closed.
    #[error("the spool is closed")]
    Closed,
}

/// Why a change was not made, or a message not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room: the disk is full, or `min_free_space` or `max_messages` is reached.
    #[error("full: {0}")]
    Full(String),
    /// A write or a sync failed. The store accepts no more changes: after a failed sync the content of the disk is
    /// unknown.
    #[error("the disk failed: {0}")]
    Failed(String),
    /// The system is short of descriptors or memory. Nothing was changed and the disk is fine; try again later.
    #[error("the system is short of descriptors or memory: {0}")]
    Shortage(String),
    /// The change is invalid: an add without messages, an id that is taken, a body that exceeds the limits of the
    /// format.
    #[error("not a valid change: {0}")]
    Invalid(String),
    /// The messages of earlier runs are still being read. Only messages added in this run can be changed.
    #[error("the spool is still loading the existing messages")]
    Loading,
    /// There is no live message with this id.
    #[error("{0}: no such message")]
    NoSuchMessage(MessageId),
    /// The system is short of descriptors or memory. The message is fine; try again later.
    #[error("{id}: cannot be read now: {reason}")]
    NotNow {
        /// The message.
        id: MessageId,
        /// The error of the system.
        reason: String,
    },
    /// The bytes on disk are not those that were written, or cannot be read.
    #[error("{id}: damaged on disk: {reason}")]
    Damaged {
        /// The message.
        id: MessageId,
        /// What is wrong.
        reason: String,
    },
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl StoreError {
    /// Converts an error of the system in an operation that has changed nothing, or that is repeated: a shortage and a
    /// full disk are temporary, anything else is a failure of the disk.
    pub(super) fn of(error: io::Error) -> Self {
        let is_full = || {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match error.to_string() {
            text if is_shortage(&error) => Self::Shortage(text),
            text if is_full() => Self::Full(text),
            text => Self::Failed(text),
        }
    }
}
