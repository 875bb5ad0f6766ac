//! The payloads of frames: what one change looks like on disk, in postcard.
//!
//! These structs, and every type of the vocabulary they hold, are the format. postcard writes fields in order and
//! variants by number: a field is never added, moved or removed, and a variant is only ever added at the end, without a new version in
//! the frame header. The golden bytes in the tests fail when that is forgotten.

mod written;

pub(super) use written::encode;

use super::change::Addition;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::event::{Event, EventKind};
use crate::id::{FlowId, MessageId};
use crate::message::{Message, MessageState, Section, Status};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use crate::summary::EnvelopeSummary;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

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
    pub(super) key: Option<String>,
    pub(super) telling: Telling,
    pub(super) messages: Vec<MessageRecord>,
}

/// One message of an add.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(any(test, feature = "fuzzing"), derive(Serialize))]
pub(super) struct MessageRecord {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) in_flight: Option<Timestamp>,
    /// What had become of it when it came back from a shelf; overrides the two above.
    pub(super) state: Option<MessageState>,
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
            kind,
        }
    }
}

/// Reads a whole payload; bytes left over are an error too.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes::<T>(payload) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(format!("{} bytes too many in the record", rest.len())),
        Err(error) => Err(format!("the record cannot be read: {error}")),
    }
}

impl AddRecord {
    /// The message at `index` as it was added.
    pub(super) fn message(self, index: u32, body_size: u64) -> Option<Message> {
        let index = usize::try_from(index).ok()?;
        let id = self.messages.get(index)?.id;
        let others = self
            .messages
            .iter()
            .map(|other| other.id)
            .filter(|other| *other != id);
        let related = self.related.iter().copied().chain(others).collect();
        let record = self.messages.into_iter().nth(index)?;
        let section = Section {
            envelope: record.envelope,
            next_hops: record.next_hops,
            retry: record.retry,
        };
        let state = record.state.unwrap_or_else(|| MessageState {
            in_flight: record.in_flight,
            ..MessageState::new(&section, record.status, self.spooled_at)
        });
        Some(Message {
            id,
            parent: self.parent,
            related,
            flows: self.flows,
            spooled_at: self.spooled_at,
            next_hops: section.next_hops,
            envelope: Arc::new(section.envelope),
            body_size,
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
        .is_some_and(|key| key.is_empty() || key.len() > 255)
    {
        return Some("the name of an add has 1 to 255 bytes");
    }
    // Offsets have 32 bits, and the payload needs its share.
    (addition.body.len() > 0xf000_0000).then_some("a body is less than 3.75 GiB")
}
