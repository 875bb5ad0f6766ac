//! How the events of one change are encoded in its frame: the number and time of the first, and the kind of each. Their numbers
//! are consecutive, their time is the same, and their message is in the frame. Without an event, number and time are zero.

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

struct Kinds<'a>(&'a [Event]);

impl Serialize for Kinds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|event| &event.kind))
    }
}

pub(super) fn serialize<S: Serializer>(events: &[Event], serializer: S) -> Result<S::Ok, S::Error> {
    let first = events.first().map(|event| (event.seq, event.at));
    let (seq, at) = first.unwrap_or_default();
    (seq, at, Kinds(events)).serialize(serializer)
}

/// The events have no message, flows or envelope: the frame has them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
    let (seq, at, kinds) = <(u64, Timestamp, Vec<EventKind>)>::deserialize(deserializer)?;
    let event = |(nth, kind)| Event::new(seq.saturating_add(nth), at, kind);
    Ok((0..).zip(kinds).map(event).collect())
}
