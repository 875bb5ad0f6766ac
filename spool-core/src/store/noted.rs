//! How the events of a note are encoded: as they are, since their messages are not in the journal. The reason of a freeze is
//! left out: the frame of a freeze has it.

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::id::{FlowId, MessageId};
use crate::summary::EnvelopeSummary;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Event")]
struct WholeEvent {
    seq: u64,
    at: Timestamp,
    id: Option<MessageId>,
    flows: Vec<FlowId>,
    envelope: Option<Arc<EnvelopeSummary>>,
    #[serde(skip)]
    reason: Option<String>,
    kind: EventKind,
}

#[derive(Serialize, Deserialize)]
struct Noted(#[serde(with = "WholeEvent")] Event);

pub(super) fn serialize<S: Serializer>(events: &[Event], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().cloned().map(Noted))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
    let events = Vec::<Noted>::deserialize(deserializer)?;
    Ok(events.into_iter().map(|Noted(event)| event).collect())
}
