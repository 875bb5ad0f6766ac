//! The shelves: `removed/` and `quarantine/`, where mail lies as plain files for people.
//!
//! A message there is a pair `<id>.eml` and `<id>.json`, which a person may read, edit, move away or bring in. A pair is
//! there once both names are durable. The journal is never touched here.

use super::{OpenError, Store, StoreError};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::message::{Message, Queue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::Path;

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

impl Store {
    /// Lays messages on `shelf`, durably: when this answers, each pair is on disk with its names, or its error says
    /// why not and nothing of it is there. An older pair of the same id is replaced.
    pub fn shelve(&self, shelf: Shelf, messages: &[(Shelved, Bytes)]) -> Vec<Result<(), StoreError>> {
        let _ = shelf;
        messages
            .iter()
            .map(|_| Err(StoreError::Failed("not yet".into())))
            .collect()
    }

    /// Reads one pair, edited or foreign-made ones too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`]; [`StoreError::Damaged`] with what is wrong with the pair.
    pub fn shelved(&self, shelf: Shelf, id: MessageId) -> Result<(Shelved, Bytes), StoreError> {
        let _ = shelf;
        Err(StoreError::NoSuchMessage(id))
    }

    /// Deletes pairs for good, durably. One that is not there is none to delete.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn discard(&self, shelf: Shelf, ids: &[MessageId]) -> Result<(), StoreError> {
        let _ = (shelf, ids);
        Ok(())
    }

    /// What lies on `shelf`, in the order of ids: the pairs after `after`, at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn list_shelf(
        &self,
        shelf: Shelf,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<(MessageId, Result<Shelved, String>)>, StoreError> {
        let _ = (shelf, after, limit);
        Ok(Vec::new())
    }
}

/// What lies on `shelf` of the spool in `dir`, without its lock and beside a running one.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool or cannot be read.
pub fn shelf_from_disk(
    dir: &Path,
    shelf: Shelf,
    each: &mut dyn FnMut(MessageId, Result<Shelved, String>),
) -> Result<(), OpenError> {
    let _ = (dir, shelf, each);
    Ok(())
}
