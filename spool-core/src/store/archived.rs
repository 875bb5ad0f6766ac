//! Archived messages of an open store: added, read, listed and deleted.

use super::archive::{self, ArchiveDir, PairError};
use super::error::StoreError;
use super::handle::Store;
use super::mutex::locked;
use crate::archive::{Archive, Archived};
use crate::id::MessageId;
use bytes::Bytes;
use std::io;

/// Memory that one page of a listing may take, in addition to one message.
pub const LISTING_BYTES: u64 = 1 << 20;

/// One entry of a listing: the message, or what is wrong with its files.
pub type Listed = (MessageId, Result<Archived, String>);

impl Store {
    fn files(&self, archive: Archive) -> ArchiveDir<'_> {
        ArchiveDir::new(&*self.fs, self.dir(), archive)
    }

    /// Adds messages to `archive`, durably. On success both files and their names are on disk; on an error nothing of
    /// the pair is left. A pair with the same id is replaced. A pair in the other archive was left by a recovery that
    /// could not delete it, and is deleted first.
    pub fn archive(&self, archive: Archive, messages: &[(Archived, Bytes)]) -> Vec<Result<(), StoreError>> {
        let ids: Vec<MessageId> = messages.iter().map(|(archived, _)| archived.message.id).collect();
        let others = Archive::ALL.into_iter().filter(|other| *other != archive);
        let mut dirs = others.map(|other| self.files(other));
        let files = self.files(archive);
        let mut prepare = || {
            dirs.try_for_each(|other| other.discard(&ids))
                .and_then(|()| files.make())
        };
        // A start would take drafts written while it loads for those of an earlier run.
        let ready = self.failures.check().and_then(|()| self.all_known());
        if let Err(error) = ready.and_then(|()| prepare().map_err(StoreError::of)) {
            return vec![Err(error); messages.len()];
        }
        let added = files.add(messages).into_iter();
        added.map(|done| done.map_err(StoreError::of)).collect()
    }

    /// Reads one pair, also one that a person edited or created.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`]; [`StoreError::Damaged`] with what is wrong with the pair.
    pub fn archived(&self, archive: Archive, id: MessageId) -> Result<(Archived, Bytes), StoreError> {
        let Some(pair) = self.files(archive).read(id) else {
            return Err(StoreError::NoSuchMessage(id));
        };
        pair.map_err(|flaw| StoreError::Damaged {
            id,
            reason: flaw.reason(),
        })
    }

    /// Deletes pairs, durably. A missing pair is no error.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Full`] where a full disk kept a deletion from being durable, and [`StoreError::Shortage`].
    pub fn discard(&self, archive: Archive, ids: &[MessageId]) -> Result<(), StoreError> {
        let discarded = self.files(archive).discard(ids);
        discarded.map_err(StoreError::of)
    }

    /// Bytes of the text file of a pair.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`] when there is none.
    pub fn archived_size(&self, archive: Archive, id: MessageId) -> Result<u64, StoreError> {
        let size = self.files(archive).text_size(id);
        size.map_err(|_| StoreError::NoSuchMessage(id))
    }

    /// The pairs in `archive` after the id `after`, in the order of ids: at most `limit` of them, and about
    /// [`LISTING_BYTES`] in memory. An unreadable pair is listed with the reason. Empty when there are no more.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn list_archive(
        &self,
        archive: Archive,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let files = self.files(archive);
        let ids = files.ids().map_err(StoreError::of)?;
        let page = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for id in page.take(limit) {
            let archived = files.look(id).map_err(PairError::reason);
            bytes += archived
                .as_ref()
                .map_or(0, |archived| archived.message.footprint());
            listed.push((id, archived));
            if bytes >= LISTING_BYTES {
                break;
            }
        }
        Ok(listed)
    }

    /// Deletes what a crash left: incomplete pairs, and pairs of messages that are still, or again, in the journal.
    pub(in crate::store) fn tidy_archives(&self) -> io::Result<()> {
        // Of a message that is damaged in the journal, the pair may be the only whole copy.
        let live = |id| {
            let entry = locked(&self.index).get(id);
            entry.is_some_and(|entry| {
                let message = self.reader.message(id, entry);
                message.is_ok() && self.reader.body(entry.kept.add).is_ok()
            })
        };
        archive::tidy(&*self.fs, self.dir(), &live)
    }
}
