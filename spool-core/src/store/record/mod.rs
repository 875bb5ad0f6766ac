//! The payloads of frames: what one change looks like on disk, in postcard. These are of format 3; those of formats 1 and 2 are read
//! by [`format1`] and [`format2`] and become these.
//!
//! These structs, and every type of the vocabulary they hold, are the format. postcard writes fields in order and
//! variants by number: a field is never added, moved or removed, and a variant is only ever added at the end, without a new version in
//! the frame header. The golden bytes in the tests fail when that is forgotten.

mod format1;
mod format2;
mod written;

pub(super) use written::encode;

use super::change::{Addition, Conclusion};
use super::frame::Header;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::event::{Event, EventKind};
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{Message, MessageState, RouteOrigin, Section, Status};
use crate::next_hop::NextHop;
use crate::related::Related;
use crate::retry::RetryPolicy;
use crate::summary::EnvelopeSummary;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The payload of a kind of frame, in every format that is read.
pub(super) trait Payload: DeserializeOwned {
    /// How format 1 encoded it.
    type Format1: DeserializeOwned + Into<Self>;
    /// How format 2 encoded it.
    type Format2: DeserializeOwned + Into<Self>;
}

impl Payload for AddRecord {
    type Format1 = format1::AddRecord;
    type Format2 = format2::AddRecord;
}

impl Payload for MarkRecord {
    type Format1 = format1::MarkRecord;
    type Format2 = Self;
}

impl Payload for StateRecord {
    type Format1 = format1::StateRecord;
    type Format2 = format2::StateRecord;
}

impl Payload for FinishRecord {
    type Format1 = Self;
    type Format2 = Self;
}

impl Payload for NoteRecord {
    type Format1 = Self;
    type Format2 = Self;
}

/// There is none in format 1.
impl Payload for RouteRecord {
    type Format1 = Self;
    type Format2 = Self;
}

/// Numbers, time and kinds of the events of one change. Without any, all are zero.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct Telling {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) kinds: Vec<EventKind>,
}

/// The payload of an add.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct AddRecord {
    pub(super) spooled_at: Timestamp,
    pub(super) parent: Option<MessageId>,
    pub(super) flows: Vec<FlowId>,
    pub(super) related: Vec<MessageId>,
    pub(super) key: Option<AddKey>,
    pub(super) conclusion: Option<ConclusionRecord>,
    pub(super) telling: Telling,
    pub(super) messages: Vec<MessageRecord>,
}

/// What becomes of another message with an add.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct ConclusionRecord {
    pub(super) id: MessageId,
    pub(super) outcome: OutcomeRecord,
}

/// How it goes on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) enum OutcomeRecord {
    Finish(How),
    State(Box<MessageState>),
}

/// One message of an add.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct MessageRecord {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) frozen: Option<Box<Frozen>>,
    pub(super) in_flight: Option<Timestamp>,
    /// What had become of it when it came back from a shelf; overrides the three above.
    pub(super) state: Option<MessageState>,
    pub(super) origin: RouteOrigin,
    pub(super) next_hops: Arc<[NextHop]>,
    pub(super) retry: RetryPolicy,
    pub(super) envelope: Envelope,
}

/// The payload of a mark.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct MarkRecord {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) frozen: Option<Box<Frozen>>,
    pub(super) in_flight: Option<Timestamp>,
    pub(super) telling: Telling,
}

impl MarkRecord {
    /// How long the message was to wait when this was written; `None` when nobody was told.
    pub(super) fn wait(&self) -> Option<Duration> {
        let told = !self.telling.kinds.is_empty();
        match self.status {
            Status::SendAt(due) if told => Some(due.since(self.telling.at)),
            Status::SendAt(_) | Status::Frozen => None,
        }
    }
}

/// The payload of a state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct StateRecord {
    pub(super) id: MessageId,
    pub(super) state: MessageState,
    pub(super) telling: Telling,
}

/// The payload of a route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct RouteRecord {
    pub(super) id: MessageId,
    pub(super) origin: RouteOrigin,
    pub(super) next_hops: Arc<[NextHop]>,
    pub(super) telling: Telling,
}

/// The payload of a finish.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct FinishRecord {
    pub(super) id: MessageId,
    pub(super) how: How,
    pub(super) telling: Telling,
}

/// Why a message left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum How {
    Delivered,
    Removed,
}

/// The payload of a note: whole events, since their messages are elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NoteRecord {
    pub(super) events: Vec<NotedEvent>,
}

/// One event of a note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NotedEvent {
    seq: u64,
    at: Timestamp,
    id: Option<MessageId>,
    flows: Vec<FlowId>,
    envelope: Option<Arc<EnvelopeSummary>>,
    kind: EventKind,
}

impl NotedEvent {
    fn of(event: &Event) -> Self {
        let Event {
            seq,
            at,
            id,
            flows,
            envelope,
            kind,
            ..
        } = event.clone();
        Self {
            seq,
            at,
            id,
            flows,
            envelope,
            kind,
        }
    }

    pub(super) fn event(self) -> Event {
        let Self {
            seq,
            at,
            id,
            flows,
            envelope,
            kind,
        } = self;
        Event {
            seq,
            at,
            id,
            flows,
            envelope,
            reason: None,
            kind,
        }
    }
}

/// Reads a whole payload of a frame with this header; bytes left over are an error too.
pub(super) fn decode<T: Payload>(header: Header, payload: &[u8]) -> Result<T, String> {
    match header.version {
        1 => whole::<T::Format1>(payload).map(Into::into),
        2 => whole::<T::Format2>(payload).map(Into::into),
        _ => whole(payload),
    }
}

fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes::<T>(payload) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(format!("{} bytes too many in the record", rest.len())),
        Err(error) => Err(format!("the record cannot be read: {error}")),
    }
}

/// A decoded add, to take its messages from one after the other.
#[derive(Debug)]
pub(super) struct Decoded {
    add: AddRecord,
    /// All that belong together: what the add names, and its own messages.
    related: Arc<[MessageId]>,
    body_size: u64,
}

impl Decoded {
    /// An add with a body of so many bytes.
    pub(super) fn new(add: AddRecord, body_size: u64) -> Self {
        let own = add.messages.iter().map(|message| message.id);
        let related = add.related.iter().copied().chain(own).collect();
        Self {
            add,
            related,
            body_size,
        }
    }

    /// The message at `index` as it was added. It costs as much as that message is long.
    pub(super) fn message(&self, index: u32) -> Option<Message> {
        let add = &self.add;
        let record = add.messages.get(usize::try_from(index).ok()?)?;
        let section = Section {
            envelope: record.envelope.clone(),
            next_hops: Arc::clone(&record.next_hops),
            origin: record.origin,
            retry: record.retry.clone(),
        };
        let state = record.state.clone().unwrap_or_else(|| MessageState {
            frozen: record.frozen.clone(),
            in_flight: record.in_flight,
            ..MessageState::new(&section, record.status, add.spooled_at)
        });
        Some(Message {
            id: record.id,
            parent: add.parent,
            related: Related::shared(Arc::clone(&self.related), record.id),
            flows: add.flows.clone(),
            spooled_at: add.spooled_at,
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: self.body_size,
            state,
        })
    }
}

/// Whether `addition` can be kept: the reason if not.
pub(super) fn unfit(addition: &Addition) -> Option<&'static str> {
    if addition.messages.is_empty() {
        return Some("an add needs a message");
    }
    if addition
        .key
        .as_ref()
        .is_some_and(|key| key.name.is_empty() || key.name.len() > 255)
    {
        return Some("the name of an add has 1 to 255 bytes");
    }
    let concludes = |conclusion: &Conclusion| {
        let itself = addition.messages.iter().any(|new| new.id == conclusion.id);
        itself || (!addition.events.is_empty() && addition.events.len() < addition.messages.len())
    };
    if addition.conclusion.as_ref().is_some_and(concludes) {
        return Some("an add cannot conclude one of its own messages");
    }
    // Offsets have 32 bits, and the payload needs its share.
    (addition.body.len() > 0xf000_0000).then_some("a body is less than 3.75 GiB")
}
