//! Archives: plain files of messages that left the queue.

use crate::clock::Timestamp;
use crate::message::{Message, Queue};
use serde::{Deserialize, Serialize};

/// One of the two archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Archive {
    /// Messages removed by a person.
    Removed,
    /// Messages set aside for inspection.
    Quarantine,
}

impl Archive {
    /// Both archives.
    pub const ALL: [Self; 2] = [Self::Removed, Self::Quarantine];

    /// The name of the archive in listings.
    #[must_use]
    pub const fn queue(self) -> Queue {
        match self {
            Self::Removed => Queue::Removed,
            Self::Quarantine => Queue::Quarantine,
        }
    }

    /// The archive with this name in listings.
    #[must_use]
    pub fn of_queue(queue: Queue) -> Option<Self> {
        Self::ALL.into_iter().find(|archive| archive.queue() == queue)
    }

    /// The directory, relative to the spool.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A message in an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Archived {
    /// The message; its state says what became of each recipient.
    pub message: Message,
    /// When it was archived.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}
