//! The reasons for which a spool ends.

use spool_core::store::Failure;
use spool_core::{AddError, SpoolError};
use thiserror::Error;

/// Why a spool has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Ending {
    /// It was asked to, or nobody held an address of it any more.
    #[error("the spool was closed")]
    Killed,
    /// A write or a sync failed: nobody knows what is on disk.
    #[error("the disk failed: {0}")]
    DiskFailed(String),
    /// What was there at the start cannot be read.
    #[error("the existing messages cannot be loaded: {0}")]
    LoadFailed(String),
    /// Files of the spool were deleted, replaced or moved, or made read-only, while it ran.
    #[error("files were deleted or replaced: {0}")]
    FilesTaken(String),
    /// A part of it panicked, or its thread ended.
    #[error("{0} panicked")]
    Panicked(Part),
}

/// The parts of a spool, and of the service round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Part {
    /// [`SpoolActor`](crate::SpoolActor), or the thread it runs on.
    #[error("the spool actor")]
    Spool,
    /// [`Throttle`](crate::Throttle).
    #[error("the throttle")]
    Throttle,
    /// [`EventHub`](crate::EventHub).
    #[error("the event hub")]
    EventHub,
    /// The thread that writes.
    #[error("the writer thread")]
    Writer,
    /// The thread that loads what was there at the start.
    #[error("the loader thread")]
    Loader,
    /// A thread that sessions run on.
    #[error("a worker thread")]
    Worker,
    /// Work on the disk for an operation.
    #[error("a blocking job")]
    BlockingJob,
    /// What takes mail from the network.
    #[error("the SMTP server")]
    Ingress,
    /// The HTTP API.
    #[error("the admin server")]
    Admin,
}

impl Ending {
    /// The answer to every later operation.
    #[must_use]
    pub fn spool_error(&self) -> SpoolError {
        match self {
            Self::Killed => SpoolError::Killed,
            Self::DiskFailed(why) => SpoolError::Disk(why.clone()),
            Self::LoadFailed(_) | Self::FilesTaken(_) | Self::Panicked(_) => {
                SpoolError::Ended(self.to_string())
            }
        }
    }

    /// The answer to every later add.
    #[must_use]
    pub fn add_error(&self) -> AddError {
        match self {
            Self::Killed => AddError::Killed,
            Self::DiskFailed(why) => AddError::Disk(why.clone()),
            Self::LoadFailed(_) | Self::FilesTaken(_) | Self::Panicked(_) => {
                AddError::Ended(self.to_string())
            }
        }
    }
}

impl From<&Failure> for Ending {
    /// The one place where the store's failure becomes an end.
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Load(why) => Self::LoadFailed(why.clone()),
            Failure::FilesTaken(why) => Self::FilesTaken(why.clone()),
            Failure::Disk(why) | Failure::Abandoned(why) => Self::DiskFailed(why.clone()),
            Failure::Closed => Self::Killed,
        }
    }
}
