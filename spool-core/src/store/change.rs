//! What can be committed. Each change is one atomic frame in the journal.

use super::numbering;
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
    /// Its name, never used before.
    pub id: MessageId,
    /// What it waits for.
    pub status: Status,
    /// Why, when it begins frozen.
    pub frozen: Option<Box<Frozen>>,
    /// Set when its first attempt begins as soon as the add is durable.
    pub in_flight: Option<Timestamp>,
    /// What has become of it already, when it comes back from a shelf; overrides `status`, `frozen` and
    /// `in_flight`.
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
    /// Other messages that belong to them, beside each other.
    pub related: Vec<MessageId>,
    /// The submitter's idempotency key: an add with the same key within the window spools nothing.
    pub key: Option<AddKey>,
    /// What becomes of another message in the same frame: both changes are on disk, or neither is.
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

/// What becomes of a message with the add of others: its bounce.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// Which message. It is live, and none of those that are added.
    pub id: MessageId,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It ends.
    Finish(Finish),
    /// It goes on in this state.
    State(Box<MessageState>),
}

/// Why a message leaves the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Finish {
    /// Every recipient was taken or taken care of.
    Delivered,
    /// It went to the shelf of removed messages, which holds it durably.
    Removed,
}

/// One atomic change of the spool.
#[derive(Debug, Clone)]
pub enum Change {
    /// New messages.
    Add(Addition),
    /// A small change: the begin of an attempt, a freeze, an unfreeze. Overrides these three fields of the state.
    Mark {
        /// Which message.
        id: MessageId,
        /// What it waits for.
        status: Status,
        /// Why, when it is frozen.
        frozen: Option<Box<Frozen>>,
        /// Begin of an attempt, if one is about to start or running.
        in_flight: Option<Timestamp>,
        /// What this means to subscribers.
        events: Vec<Event>,
    },
    /// The whole state, after an attempt.
    State {
        /// Which message.
        id: MessageId,
        /// All that changes in its life.
        state: Box<MessageState>,
        /// What this means to subscribers.
        events: Vec<Event>,
    },
    /// Another route. Its state is not touched.
    Route {
        /// Which message.
        id: MessageId,
        /// Next hops in order. At least one.
        next_hops: Arc<[NextHop]>,
        /// Where they come from.
        origin: RouteOrigin,
        /// What this means to subscribers.
        events: Vec<Event>,
    },
    /// The end of a message.
    Finish {
        /// Which message.
        id: MessageId,
        /// Why.
        how: Finish,
        /// What this means to subscribers.
        events: Vec<Event>,
    },
    /// Live messages as they are, further on in the journal: what compaction writes. It takes the place of all that was
    /// written about them before.
    Move(Addition),
    /// Something that happened to a message outside the journal; nothing but the event.
    Note {
        /// What happened.
        events: Vec<Event>,
    },
}

impl Change {
    /// The events it carries. [`Store::commit`](crate::store::handle::Store::commit) gives them their numbers.
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

    /// The same, to be taken or numbered.
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
}
