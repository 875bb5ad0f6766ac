//! The logs beside the journal: events, idempotency keys, and what was learned of destinations.
//!
//! This room touches the directories `events/` and `keys/` and the file `destinations.jsonl` only. What it holds can be read
//! again from the journal, or be learned again.

pub(super) mod destinations;
pub(super) mod event_page;
pub(super) mod events;
pub(super) mod keys;
pub(super) mod lines;
