//! The payloads of frames: what one change looks like on disk, in postcard.
//!
//! These structs, and every type of the vocabulary they hold, are the format. postcard writes fields in order and
//! variants by number: a field is never added, moved or removed, and a variant is only ever added at the end, without a new version in
//! the frame header. The golden bytes in the tests fail when that is forgotten.

use super::change::{Addition, Change, Finish, NewMessage};
use super::frame::Kind;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::id::{FlowId, MessageId};
use crate::message::{Message, MessageState, Section, Status};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;

/// The payload of an add, as it is written.
#[derive(Serialize)]
struct AddOut<'a> {
    spooled_at: Timestamp,
    parent: Option<MessageId>,
    flows: &'a [FlowId],
    messages: MessagesOut<'a>,
}

struct MessagesOut<'a>(&'a [NewMessage]);

impl Serialize for MessagesOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|message| MessageOut {
            id: message.id,
            status: message.status,
            in_flight: message.in_flight,
            next_hops: &message.section.next_hops,
            retry: &message.section.retry,
            envelope: &message.section.envelope,
        }))
    }
}

#[derive(Serialize)]
struct MessageOut<'a> {
    id: MessageId,
    status: Status,
    in_flight: Option<Timestamp>,
    next_hops: &'a [NextHop],
    retry: &'a RetryPolicy,
    envelope: &'a Envelope,
}

/// The payload of an add, as it is read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct AddRecord {
    pub(super) spooled_at: Timestamp,
    pub(super) parent: Option<MessageId>,
    pub(super) flows: Vec<FlowId>,
    pub(super) messages: Vec<MessageRecord>,
}

/// One message of an add.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct MessageRecord {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) in_flight: Option<Timestamp>,
    pub(super) next_hops: Arc<[NextHop]>,
    pub(super) retry: RetryPolicy,
    pub(super) envelope: Envelope,
}

/// The payload of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct MarkRecord {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) in_flight: Option<Timestamp>,
}

#[derive(Serialize)]
struct StateOut<'a> {
    id: MessageId,
    state: &'a MessageState,
}

/// The payload of a state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct StateRecord {
    pub(super) id: MessageId,
    pub(super) state: MessageState,
}

/// The payload of a finish.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct FinishRecord {
    pub(super) id: MessageId,
    pub(super) how: How,
}

/// Why a message left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum How {
    Delivered,
}

/// Appends the payload of `change` to `buffer`; gives its kind. An error is a value postcard cannot write; there is
/// none among these types.
pub(super) fn encode(change: &Change, buffer: &mut Vec<u8>) -> Result<Kind, postcard::Error> {
    match change {
        Change::Add(addition) => {
            let record = AddOut {
                spooled_at: addition.spooled_at,
                parent: addition.parent,
                flows: &addition.flows,
                messages: MessagesOut(&addition.messages),
            };
            postcard::to_io(&record, buffer)?;
            Ok(Kind::Add)
        }
        Change::Mark {
            id,
            status,
            in_flight,
            ..
        } => {
            let record = MarkRecord {
                id: *id,
                status: *status,
                in_flight: *in_flight,
            };
            postcard::to_io(&record, buffer)?;
            Ok(Kind::Mark)
        }
        Change::State { id, state, .. } => {
            postcard::to_io(&StateOut { id: *id, state }, buffer)?;
            Ok(Kind::State)
        }
        Change::Finish { id, how, .. } => {
            let how = match how {
                Finish::Delivered | Finish::Removed => How::Delivered,
            };
            postcard::to_io(&FinishRecord { id: *id, how }, buffer)?;
            Ok(Kind::Finish)
        }
        Change::Note { .. } => Ok(Kind::Hole),
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
        let related = self.messages.iter().map(|other| other.id);
        let related = related.filter(|other| *other != id).collect();
        let record = self.messages.into_iter().nth(index)?;
        let section = Section {
            envelope: record.envelope,
            next_hops: record.next_hops,
            retry: record.retry,
        };
        let state = MessageState {
            in_flight: record.in_flight,
            ..MessageState::new(&section, record.status, self.spooled_at)
        };
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
    // Offsets have 32 bits, and the payload needs its share.
    (addition.body.len() > 0xf000_0000).then_some("a body is less than 3.75 GiB")
}
