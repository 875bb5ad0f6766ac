//! Reading messages, bodies and events of an open store.

use super::error::StoreError;
use super::handle::Store;
use super::journal::index::Entry;
use super::journal::reader::Unread;
use super::logs::event_page::EventCursor;
use super::mutex::locked;
use crate::event::Event;
use crate::id::MessageId;
use crate::message::Message;
use bytes::Bytes;
use std::io;

impl Store {
    /// A live message, without its body.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`], [`StoreError::Damaged`], [`StoreError::Loading`].
    pub fn load(&self, id: MessageId) -> Result<Message, StoreError> {
        self.read(id, |entry| self.reader.message(id, entry))
    }

    /// A loader for many messages. Consecutive messages of one add cost one read.
    pub fn sequential(&self) -> impl FnMut(MessageId) -> Result<Message, StoreError> {
        let mut message = self.reader.sequential();
        move |id| self.read(id, |entry| message(id, entry))
    }

    /// The body of a live message, checked against its checksum.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn body(&self, id: MessageId) -> Result<Bytes, StoreError> {
        self.read(id, |entry| self.reader.body(entry.kept.add))
    }

    /// Reads without locking the index. A segment may be deleted meanwhile; then the entry has changed, and the read is
    /// repeated.
    fn read<T>(
        &self,
        id: MessageId,
        mut get: impl FnMut(Entry) -> Result<T, Unread>,
    ) -> Result<T, StoreError> {
        let mut before = None;
        loop {
            let Some(entry) = locked(&self.index).get(id) else {
                return Err(self.all_known().err().unwrap_or(StoreError::NoSuchMessage(id)));
            };
            let reason = match get(entry) {
                Ok(value) => return Ok(value),
                Err(Unread::Gone) if before != Some(entry) => {
                    before = Some(entry);
                    continue;
                }
                Err(Unread::Gone) => "its segment is missing".to_owned(),
                Err(Unread::Damaged(reason)) => reason,
                Err(Unread::NotNow(reason)) => return Err(StoreError::NotNow { id, reason }),
            };
            return Err(StoreError::Damaged { id, reason });
        }
    }

    /// About `limit` events after `cursor`, which is advanced; fewer when they are large. Where events are missing from
    /// the log, an [`EventKind::Gap`] says how many. Empty when there is no newer event.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a cursor beyond the last event; [`StoreError::Failed`] when the log cannot be read.
    pub fn events_after(&self, cursor: &mut EventCursor, limit: usize) -> Result<Vec<Event>, StoreError> {
        let last = self.last_event();
        if cursor.after > last {
            let text = format!("there is no event {} yet: the last one is {last}", cursor.after);
            return Err(StoreError::Invalid(text));
        }
        let failed = |error: io::Error| StoreError::Failed(format!("the event log cannot be read: {error}"));
        self.events.after(cursor, limit).map_err(failed)
    }

    /// The number of the last event; 0 if there was none.
    pub fn last_event(&self) -> u64 {
        self.events.last()
    }
}
