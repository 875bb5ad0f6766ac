//! Archived messages of an open store: added, read, listed and deleted.

use super::archive::{self, ArchiveDir, PairError};
use super::error::StoreError;
use super::handle::Store;
use super::mutex::locked;
use crate::archive::{Shelf, Shelved};
use crate::id::MessageId;
use bytes::Bytes;
use std::io;

/// The memory that one page of a listing may take, beside one message.
pub const LISTING_BYTES: u64 = 1 << 20;

/// One entry of a listing: the message, or what is wrong with its files.
pub type Listed = (MessageId, Result<Shelved, String>);

impl Store {
    /// Lays messages on `shelf`, durably: when this answers, each pair is on disk with its names, or its error says
    /// why not and nothing of it is there. An older pair of the same id is replaced; on the other shelf it is what its
    /// recovery could not delete, and goes first.
    pub fn shelve(&self, shelf: Shelf, messages: &[(Shelved, Bytes)]) -> Vec<Result<(), StoreError>> {
        if let Some(failure) = self.failures.get() {
            let failed = || Err(StoreError::Failed(failure.to_string()));
            return messages.iter().map(|_| failed()).collect();
        }
        // Drafts of now would be taken for those of an earlier life.
        if let Err(error) = self.all_known() {
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        let ids: Vec<MessageId> = messages.iter().map(|(shelved, _)| shelved.message.id).collect();
        let others = Shelf::ALL.into_iter().filter(|other| *other != shelf);
        let mut dirs = others.map(|other| ArchiveDir::new(&*self.fs, self.dir(), other));
        let archive = ArchiveDir::new(&*self.fs, self.dir(), shelf);
        if let Err(error) = dirs
            .try_for_each(|other| other.discard(&ids))
            .and_then(|()| archive.make())
        {
            return messages.iter().map(|_| Err(refusal(&error))).collect();
        }
        let added = archive.add(messages).into_iter();
        added.map(|done| done.map_err(|error| refusal(&error))).collect()
    }

    /// Reads one pair, edited or foreign-made ones too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`]; [`StoreError::Damaged`] with what is wrong with the pair.
    pub fn shelved(&self, shelf: Shelf, id: MessageId) -> Result<(Shelved, Bytes), StoreError> {
        let archive = ArchiveDir::new(&*self.fs, self.dir(), shelf);
        let Some(pair) = archive.read(id) else {
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
        ArchiveDir::new(&*self.fs, self.dir(), shelf)
            .discard(ids)
            .map_err(|error| StoreError::of(&error))
    }

    /// How many bytes the text of a pair has, as it lies there.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`] when there is none.
    pub fn shelved_size(&self, shelf: Shelf, id: MessageId) -> Result<u64, StoreError> {
        let size = ArchiveDir::new(&*self.fs, self.dir(), shelf).text_size(id);
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
        let archive = ArchiveDir::new(&*self.fs, self.dir(), shelf);
        let ids = archive.ids().map_err(|error| StoreError::of(&error))?;
        let page = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for id in page.take(limit) {
            let shelved = archive.look(id).map_err(PairError::reason);
            bytes += shelved.as_ref().map_or(0, |shelved| shelved.message.footprint());
            listed.push((id, shelved));
            if bytes >= LISTING_BYTES {
                break;
            }
        }
        Ok(listed)
    }

    /// Clears away what a crash left: halves of pairs, and pairs of messages that are still, or again, on the journal.
    pub(in crate::store) fn tidy_archives(&self) -> io::Result<()> {
        // Of a message that is damaged there, the pair may be the only whole copy.
        let live = |id| {
            let entry = locked(&self.index).get(id);
            entry.is_some_and(|entry| {
                let message = self.reader.message(id, entry);
                message.is_ok() && self.reader.body(entry.add).is_ok()
            })
        };
        archive::tidy(&*self.fs, self.dir(), &live)
    }
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
