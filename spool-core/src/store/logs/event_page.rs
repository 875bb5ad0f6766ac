//! Reading the event log: the cursor of a reader, and a page of events.

use crate::event::{Event, EventKind};

/// Bytes of events read at once, plus at most one event. Each reader holds as many.
const MAX_PAGE_BYTES: usize = 128 << 10;

/// The position of a reader in the event log.
#[derive(Debug, Clone, Default)]
pub struct EventCursor {
    /// The number of the last event read.
    pub after: u64,
    /// The file with that event, and the offset after it; a hint.
    pub(super) place: Option<(u64, u64)>,
}

impl EventCursor {
    /// After the event with the number `after`; 0 is the beginning.
    #[must_use]
    pub const fn new(after: u64) -> Self {
        Self { after, place: None }
    }
}

/// A page that is being read.
pub(super) struct Page<'a> {
    pub(super) cursor: &'a mut EventCursor,
    pub(super) events: Vec<Event>,
    limit: usize,
    bytes: usize,
}

impl<'a> Page<'a> {
    pub(super) const fn new(cursor: &'a mut EventCursor, limit: usize) -> Self {
        Self {
            cursor,
            events: Vec::new(),
            limit,
            bytes: 0,
        }
    }

    /// Adds the next event, and a gap before it if events are missing. Returns `false` when the page is full.
    pub(super) fn take(&mut self, event: Event, place: Option<(u64, u64)>) -> bool {
        if event.seq > self.cursor.after {
            let missing = event.seq - self.cursor.after - 1;
            if missing > 0 {
                self.events
                    .push(Event::new(event.seq - 1, event.at, EventKind::Gap(missing)));
            }
            self.cursor.after = event.seq;
            self.bytes += event.footprint();
            self.events.push(event);
        }
        self.cursor.place = place.or(self.cursor.place);
        self.events.len() < self.limit && self.bytes < MAX_PAGE_BYTES
    }
}
