//! Changes that can be committed. Each is one atomic frame in the journal, and these types are its record.
//!
//! Every type of the crate inside them is part of the format as well. postcard writes fields in order and variants by number. A
//! field is never moved or removed, and one that is added says since which format (`since.rs`). A variant is added only at the end;
//! that needs no new version in the frame header. The golden bytes in the tests fail otherwise.

use super::{noted, numbering};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{MessageState, RouteOrigin, Section, Status};
use crate::next_hop::NextHop;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One message of an add. The order of the fields is the journal's format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Its id, never used before.
    pub id: MessageId,
    /// When it is due, or that it is frozen.
    pub status: Status,
    /// Why it is frozen, when it starts frozen. Format 1 did not record it.
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    pub frozen: Option<Box<Frozen>>,
    /// Set when its first attempt starts as soon as the add is durable.
    pub in_flight: Option<Timestamp>,
    /// Its state, when it comes back from an archive. Overrides `status`, `frozen` and `in_flight`.
    pub state: Option<Box<MessageState>>,
    /// Envelope, next hops with their origin, retry policy.
    pub section: Section,
}

/// One add: the body once, and every message that shares it. The order of the fields is the journal's format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Addition {
    /// When the messages were spooled first.
    pub spooled_at: Timestamp,
    /// The message they descend from.
    pub parent: Option<MessageId>,
    /// What all of them are tied to.
    pub flows: Vec<FlowId>,
    /// Other messages that are related to them.
    pub related: Vec<MessageId>,
    /// The submitter's idempotency key: an add with the same key within the window spools nothing.
    pub key: Option<AddKey>,
    /// What becomes of another message in the same frame: both changes are on disk, or neither is. Not in format 1.
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    pub conclusion: Option<Conclusion>,
    /// One for each message, `Spooled` or `Recovered`; then those of the concluded message.
    #[serde(with = "numbering")]
    pub events: Vec<Event>,
    /// At least one.
    pub messages: Vec<NewMessage>,
    /// Lines ended by CRLF, not dot-stuffed. In the journal it follows the record.
    #[serde(skip)]
    pub body: Bytes,
}

/// What happens to another message in the frame of an add: to the message that a notice is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// Which message. It is live, and not one of the added messages.
    pub id: MessageId,
    /// What happens to it.
    pub outcome: Outcome,
}

/// What happens to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It ends.
    Finish(Finish),
    /// It stays, in this state.
    State(Box<MessageState>),
}

/// Why a message is removed from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Finish {
    /// Each recipient was accepted by a next hop, or is handled by another message.
    Delivered,
    /// It is in the archive of removed messages, durably.
    Removed,
}

/// One atomic change of the spool, and the record of it in the journal.
///
/// The fields of a variant in their order are the journal's format. The frame's header has the kind, and the record only the
/// fields; the order of the variants is that of `Kind::ALL` (`journal/frame.rs`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// New messages.
    Add(Addition),
    /// A small change: the start of an attempt, a freeze, an unfreeze. Overrides these three fields of the state.
    Mark {
        /// Which message.
        id: MessageId,
        /// When it is due, or that it is frozen.
        status: Status,
        /// Why it is frozen. Format 1 did not record it.
        #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
        frozen: Option<Box<Frozen>>,
        /// The start of an attempt that is about to run or is running.
        in_flight: Option<Timestamp>,
        /// The events of this change.
        #[serde(with = "numbering")]
        events: Vec<Event>,
    },
    /// The whole state, after an attempt.
    State {
        /// Which message.
        id: MessageId,
        /// The whole state.
        state: Box<MessageState>,
        /// The events of this change.
        #[serde(with = "numbering")]
        events: Vec<Event>,
    },
    /// The end of a message.
    Finish {
        /// Which message.
        id: MessageId,
        /// Why.
        how: Finish,
        /// The events of this change.
        #[serde(with = "numbering")]
        events: Vec<Event>,
    },
    /// Events about messages that are not in the journal.
    Note {
        /// The events.
        #[serde(with = "noted")]
        events: Vec<Event>,
    },
    /// Live messages as they are, copied to the end of the journal by compaction. It replaces all earlier records of
    /// them.
    Move(Addition),
    /// Another route. The state stays as it is.
    Route {
        /// Which message.
        id: MessageId,
        /// Where the next hops come from.
        origin: RouteOrigin,
        /// Next hops in order. At least one.
        next_hops: Arc<[NextHop]>,
        /// The events of this change.
        #[serde(with = "numbering")]
        events: Vec<Event>,
    },
}

impl Change {
    /// Its events. [`Store::commit`](crate::store::Store::commit) numbers them.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        match self {
            Self::Add(Addition { events, .. })
            | Self::Move(Addition { events, .. })
            | Self::Mark { events, .. }
            | Self::State { events, .. }
            | Self::Route { events, .. }
            | Self::Finish { events, .. }
            | Self::Note { events } => events,
        }
    }

    /// The same, mutable.
    pub const fn events_mut(&mut self) -> &mut Vec<Event> {
        match self {
            Self::Add(Addition { events, .. })
            | Self::Move(Addition { events, .. })
            | Self::Mark { events, .. }
            | Self::State { events, .. }
            | Self::Route { events, .. }
            | Self::Finish { events, .. }
            | Self::Note { events } => events,
        }
    }

    /// The messages of an add or a move.
    pub(super) fn messages(&self) -> &[NewMessage] {
        if let Self::Add(addition) | Self::Move(addition) = self {
            &addition.messages
        } else {
            &[]
        }
    }

    /// The body that its frame carries; empty but for an add and a move.
    pub(super) fn body(&self) -> &[u8] {
        if let Self::Add(addition) | Self::Move(addition) = self {
            &addition.body
        } else {
            &[]
        }
    }
}
