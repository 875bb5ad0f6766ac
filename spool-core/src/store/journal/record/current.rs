//! The records of format 3. Each type is both written and read; what is large is borrowed when it is written.

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::message::{MessageState, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::store::change::Finish;
use crate::store::numbering;
use crate::summary::EnvelopeSummary;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The record of a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct MarkRecord<'a> {
    pub(in crate::store) id: MessageId,
    pub(in crate::store) status: Status,
    pub(in crate::store) frozen: Cow<'a, Option<Box<Frozen>>>,
    pub(in crate::store) in_flight: Option<Timestamp>,
    #[serde(with = "numbering")]
    pub(in crate::store) events: Cow<'a, [Event]>,
}

impl MarkRecord<'_> {
    /// How long the message was to wait when this was written; `None` when the mark has no event, and so no time.
    pub(in crate::store) fn wait(&self) -> Option<Duration> {
        match (self.status, self.events.first()) {
            (Status::SendAt(due), Some(event)) => Some(due.since(event.at)),
            (Status::SendAt(_) | Status::Frozen, _) => None,
        }
    }
}

/// The record of a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct StateRecord<'a> {
    pub(in crate::store) id: MessageId,
    pub(in crate::store) state: Cow<'a, MessageState>,
    #[serde(with = "numbering")]
    pub(in crate::store) events: Cow<'a, [Event]>,
}

/// The record of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct RouteRecord<'a> {
    pub(in crate::store) id: MessageId,
    pub(in crate::store) origin: RouteOrigin,
    pub(in crate::store) next_hops: Arc<[NextHop]>,
    #[serde(with = "numbering")]
    pub(in crate::store) events: Cow<'a, [Event]>,
}

/// The record of a finish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct FinishRecord<'a> {
    pub(in crate::store) id: MessageId,
    pub(in crate::store) how: Finish,
    #[serde(with = "numbering")]
    pub(in crate::store) events: Cow<'a, [Event]>,
}

/// The payload of a note: whole events, since their messages are elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct NoteRecord {
    pub(in crate::store) events: Vec<NotedEvent>,
}

/// One event of a note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct NotedEvent {
    seq: u64,
    at: Timestamp,
    id: Option<MessageId>,
    flows: Vec<FlowId>,
    envelope: Option<Arc<EnvelopeSummary>>,
    kind: EventKind,
}

impl NotedEvent {
    pub(super) fn of(event: &Event) -> Self {
        let event = event.clone();
        Self {
            seq: event.seq,
            at: event.at,
            id: event.id,
            flows: event.flows,
            envelope: event.envelope,
            kind: event.kind,
        }
    }

    pub(in crate::store) fn event(self) -> Event {
        Event {
            id: self.id,
            flows: self.flows,
            envelope: self.envelope,
            ..Event::new(self.seq, self.at, self.kind)
        }
    }
}
