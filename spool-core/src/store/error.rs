//! What can go wrong on disk.

use super::fs::is_shortage;
use crate::id::MessageId;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a spool could not be opened or read. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds it.
    #[error("{}: the spool is in use by {}", dir.display(), match pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Locked {
        /// The spool.
        dir: PathBuf,
        /// Who holds it, as far as the lock file says.
        pid: Option<u32>,
    },
    /// A directory with something else in it.
    #[error("{}: not empty and not a spool; give an empty or a new directory", .0.display())]
    NotASpool(PathBuf),
    /// A spool whose `FORMAT` is missing.
    #[error(
        "{}: there is a journal, but no FORMAT: do not empty it, it may hold mail; if this was a spool, restore the file FORMAT, or write the \
         line that docs/spool-format.md gives for its version",
        .0.display()
    )]
    NoFormat(PathBuf),
    /// Written by a newer version.
    #[error("{}: the spool has format {found}, this program reads up to {known}; use the newer program", dir.display())]
    NewerFormat {
        /// The spool.
        dir: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        known: u32,
    },
    /// Belongs to another user.
    #[error("{}: the spool belongs to another user (uid {owner})", dir.display())]
    ForeignOwner {
        /// The spool.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The system refused something.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl OpenError {
    /// What an error of the system in doing `action` with `path` becomes.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Why a store takes no change any more, until it is opened anew. The first reason stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// A write or a sync failed.
    #[error("{0}")]
    Disk(String),
    /// What was there at the start cannot be read.
    #[error("what was there at the start cannot be loaded: {0}")]
    Load(String),
    /// A file or a directory of the spool is no longer what is held open.
    #[error("{0}")]
    FilesTaken(String),
    /// Its owner lost track of what it wrote.
    #[error("{0}")]
    Abandoned(String),
    /// It was closed.
    #[error("the spool is closed")]
    Closed,
}

/// Why a change was not made or a message not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room: the disk, `min_free_space` or `max_messages`.
    #[error("full: {0}")]
    Full(String),
    /// A write or a sync failed. The store takes no change any more: after a failed sync nobody knows what is on disk.
    #[error("the disk failed: {0}")]
    Failed(String),
    /// The system was short of descriptors or memory. Nothing was changed, and nothing is wrong with the disk: later it may be done.
    #[error("the system is short of descriptors or memory: {0}")]
    Shortage(String),
    /// The change itself is wrong: an add without messages, a taken id, a body beyond the format's limits.
    #[error("not a valid change: {0}")]
    Invalid(String),
    /// What was there at the start is still being read; only mail of this life can be added and changed.
    #[error("the spool is still loading what was there at its start")]
    Loading,
    /// No live message has this name.
    #[error("{0}: no such message")]
    NoSuchMessage(MessageId),
    /// The system was short of descriptors or memory. Nothing is wrong with the message: later it is read.
    #[error("{id}: cannot be read now: {reason}")]
    NotNow {
        /// Whose bytes.
        id: MessageId,
        /// The system's words.
        reason: String,
    },
    /// The bytes on disk are not what was written, or the disk does not give them back.
    #[error("{id}: damaged on disk: {reason}")]
    Damaged {
        /// Whose bytes.
        id: MessageId,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// What an error of the system means for an operation that has changed nothing: a shortage passes, anything else is the
    /// disk's.
    pub(super) fn of(error: &io::Error) -> Self {
        match is_shortage(error) {
            true => Self::Shortage(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}
