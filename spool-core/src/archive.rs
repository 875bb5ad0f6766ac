//! Archives: where messages are kept that left the queue, as plain files for people.

use crate::clock::Timestamp;
use crate::message::{Message, Queue};
use serde::{Deserialize, Serialize};

/// One of the two shelves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shelf {
    /// What a person took off the spool.
    Removed,
    /// What was set aside for inspection.
    Quarantine,
}

impl Shelf {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Removed, Self::Quarantine];

    /// Its queue, as a listing names it.
    #[must_use]
    pub const fn queue(self) -> Queue {
        match self {
            Self::Removed => Queue::Removed,
            Self::Quarantine => Queue::Quarantine,
        }
    }

    /// Its directory in the spool's own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A message on a shelf.
#[derive(Debug, Clone, PartialEq)]
pub struct Shelved {
    /// The message; its state says what has become of each recipient.
    pub message: Message,
    /// When it was laid there.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}
