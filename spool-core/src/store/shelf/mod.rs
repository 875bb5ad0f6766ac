//! The shelves: `removed/` and `quarantine/`, where mail lies as plain files for people.
//!
//! A message there is a pair `<id>.eml` and `<id>.json`, which a person may read, edit, move away or bring in. A pair is
//! there once both names are durable. The journal is never touched here, and no failure here fails the store.

mod board;
mod slip;

use super::dir;
use super::fs::{Fs, RealFs};
use super::replay::io_error;
use super::{OpenError, Store, StoreError};
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::message::{Message, Queue};
use board::Board;
pub(super) use board::{SLIP, SLIP_DRAFT, TEXT, id_of, is_draft};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What is listed at once takes no more memory than this, and one message.
pub const LISTING_BYTES: u64 = 1 << 20;

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

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It cannot be read as a message.
    Unreadable(String),
    /// It can, and is not what was written, or not of this name.
    Mismatched(String),
}

impl Flaw {
    fn reason(self) -> String {
        match self {
            Self::Unreadable(reason) | Self::Mismatched(reason) => reason,
        }
    }
}

/// A line of a shelf's listing: the message, or what is wrong with its pair.
pub type Listed = (MessageId, Result<Shelved, String>);

impl Store {
    /// Lays messages on `shelf`, durably: when this answers, each pair is on disk with its names, or its error says
    /// why not and nothing of it is there. An older pair of the same id is replaced; on the other shelf it is what its
    /// recovery could not delete, and goes first.
    pub fn shelve(&self, shelf: Shelf, messages: &[(Shelved, Bytes)]) -> Vec<Result<(), StoreError>> {
        if let Some(failure) = self.failed.get() {
            let failed = || Err(StoreError::Failed(failure.to_string()));
            return messages.iter().map(|_| failed()).collect();
        }
        // Drafts of now would be taken for those of an earlier life.
        if let Err(error) = self.all_known() {
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        let ids: Vec<MessageId> = messages.iter().map(|(shelved, _)| shelved.message.id).collect();
        let others = Shelf::ALL.into_iter().filter(|other| *other != shelf);
        let mut boards = others.map(|other| Board::new(&*self.fs, self.dir(), other));
        let board = Board::new(&*self.fs, self.dir(), shelf);
        if let Err(error) = boards
            .try_for_each(|other| other.discard(&ids))
            .and_then(|()| board.make())
        {
            return messages.iter().map(|_| Err(refusal(&error))).collect();
        }
        let laid = board.lay(messages).into_iter();
        laid.map(|done| done.map_err(|error| refusal(&error))).collect()
    }

    /// Reads one pair, edited or foreign-made ones too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`]; [`StoreError::Damaged`] with what is wrong with the pair.
    pub fn shelved(&self, shelf: Shelf, id: MessageId) -> Result<(Shelved, Bytes), StoreError> {
        let board = Board::new(&*self.fs, self.dir(), shelf);
        let Some(pair) = board.read(id) else {
            return Err(StoreError::NoSuchMessage(id));
        };
        pair.map_err(|flaw| StoreError::Damaged {
            id,
            reason: flaw.reason(),
        })
    }

    /// Deletes pairs for good, durably. One that is not there is none to delete.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn discard(&self, shelf: Shelf, ids: &[MessageId]) -> Result<(), StoreError> {
        Board::new(&*self.fs, self.dir(), shelf)
            .discard(ids)
            .map_err(|error| StoreError::of(&error))
    }

    /// The ids of all pairs on `shelf`, readable or not.
    pub(super) fn shelved_ids(&self, shelf: Shelf) -> io::Result<Vec<MessageId>> {
        Board::new(&*self.fs, self.dir(), shelf).ids()
    }

    /// How many bytes the text of a pair has, as it lies there.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`] when there is none.
    pub fn shelved_size(&self, shelf: Shelf, id: MessageId) -> Result<u64, StoreError> {
        let size = Board::new(&*self.fs, self.dir(), shelf).text_size(id);
        size.map_err(|_| StoreError::NoSuchMessage(id))
    }

    /// What lies on `shelf`, in the order of ids: the pairs after `after`, at most `limit` of them and about
    /// [`LISTING_BYTES`] in memory, an unreadable one with what is wrong with it. Empty: there are no more.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn list_shelf(
        &self,
        shelf: Shelf,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let board = Board::new(&*self.fs, self.dir(), shelf);
        let ids = board.ids().map_err(|error| StoreError::of(&error))?;
        let page = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for id in page.take(limit) {
            let shelved = board.look(id).map_err(Flaw::reason);
            bytes += shelved.as_ref().map_or(0, |shelved| shelved.message.footprint());
            listed.push((id, shelved));
            if bytes >= LISTING_BYTES {
                break;
            }
        }
        Ok(listed)
    }

    /// Clears away what a crash left: halves of pairs, and pairs of messages that are still, or again, on the journal.
    pub(super) fn tidy_shelves(&self) -> io::Result<()> {
        // Of a message that is damaged there, the pair may be the only whole copy.
        let live = |id| {
            let entry = super::locked(&self.index).get(id);
            entry.is_some_and(|entry| {
                let message = self.reader.message(id, entry);
                message.is_ok() && self.reader.body(entry.add).is_ok()
            })
        };
        tidy(&*self.fs, self.dir(), &live)
    }

    pub(super) fn dir(&self) -> &Path {
        self.journal.parent().unwrap_or(&self.journal)
    }
}

/// See [`Store::tidy_shelves`].
pub(super) fn tidy(fs: &dyn Fs, dir: &Path, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
    let boards = Shelf::ALL.map(|shelf| Board::new(fs, dir, shelf));
    boards.iter().try_for_each(|board| board.tidy(live))
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
    dir::check(&RealFs, dir)?;
    let board = Board::new(&RealFs, dir, shelf);
    let ids = board.ids().map_err(io_error("list", &dir.join(shelf.name())))?;
    for id in ids {
        each(id, board.look(id).map_err(Flaw::reason));
    }
    Ok(())
}

/// A pair that is to be whole, with its text.
pub(super) fn look_at(fs: &dyn Fs, dir: &Path, shelf: Shelf, id: MessageId) -> Result<Shelved, Flaw> {
    let missing = || Err(Flaw::Unreadable(format!("{id}.{SLIP} is missing")));
    let pair = Board::new(fs, dir, shelf).read(id);
    pair.unwrap_or_else(missing).map(|(shelved, _)| shelved)
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
    let text = Board::new(&RealFs, dir, shelf).text_if_there(id);
    Ok(text.map(|text| text.map_err(Flaw::reason)))
}

/// Writes a message as a pair of plain files into `dir`, as they lie on a shelf: durable when this answers. A pair of the
/// same name is replaced.
///
/// # Errors
/// Those of the file system; the pair is not there then, or not whole.
pub fn export_pair(dir: &Path, shelved: Shelved, body: Bytes) -> io::Result<()> {
    let laid = Board::at(&RealFs, dir).lay(&[(shelved, body)]);
    laid.into_iter().collect()
}

/// A shelf that fails says nothing about the journal.
fn refusal(error: &io::Error) -> StoreError {
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        StoreError::Full(error.to_string())
    } else {
        StoreError::of(error)
    }
}
