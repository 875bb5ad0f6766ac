//! How the events of one change are encoded in its frame: the number and time of the first, and the kind of each. Their numbers
//! are consecutive and their time is the same. Without an event, number and time are zero.

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

struct Kinds<'a>(&'a [Event]);

impl Serialize for Kinds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|event| &event.kind))
    }
}

#[derive(Deserialize)]
struct Encoded {
    seq: u64,
    at: Timestamp,
    kinds: Vec<EventKind>,
}

pub(super) fn serialize<S: Serializer>(
    events: &impl AsRef<[Event]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let events = events.as_ref();
    let first = events.first();
    let mut encoded = serializer.serialize_struct("Events", 3)?;
    encoded.serialize_field("seq", &first.map_or(0, |event| event.seq))?;
    encoded.serialize_field("at", &first.map_or(Timestamp::default(), |event| event.at))?;
    encoded.serialize_field("kinds", &Kinds(events))?;
    encoded.end()
}

/// The events have no message, flows or envelope: the frame has them.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: From<Vec<Event>>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let Encoded { seq, at, kinds } = Encoded::deserialize(deserializer)?;
    let event = |(nth, kind)| Event::new(seq.saturating_add(nth), at, kind);
    Ok(T::from((0..).zip(kinds).map(event).collect::<Vec<_>>()))
}
