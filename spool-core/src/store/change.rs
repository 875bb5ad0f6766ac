//! What can be committed. Each change is one atomic frame in the journal.

use crate::clock::Timestamp;
use crate::id::{FlowId, MessageId};
use crate::message::{MessageState, Section, Status};
use bytes::Bytes;

/// One message of an add.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its name, never used before.
    pub id: MessageId,
    /// Envelope, next hops, retry policy.
    pub section: Section,
    /// What it waits for.
    pub status: Status,
    /// Set when its first attempt begins as soon as the add is durable.
    pub in_flight: Option<Timestamp>,
}

/// One add: the body once, and every message that shares it.
#[derive(Debug, Clone)]
pub struct Addition {
    /// At least one.
    pub messages: Vec<NewMessage>,
    /// Lines ended by CRLF, not dot-stuffed.
    pub body: Bytes,
    /// What all of them are tied to.
    pub flows: Vec<FlowId>,
    /// The message they descend from.
    pub parent: Option<MessageId>,
    /// Now.
    pub spooled_at: Timestamp,
}

/// Why a message leaves the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// Every recipient was taken or taken care of.
    Delivered,
}

/// One atomic change of the spool.
#[derive(Debug, Clone)]
pub enum Change {
    /// New messages.
    Add(Addition),
    /// A small change: the begin of an attempt, a freeze, an unfreeze. Overrides these two fields of the state.
    Mark {
        /// Which message.
        id: MessageId,
        /// What it waits for.
        status: Status,
        /// Begin of an attempt, if one is about to start or running.
        in_flight: Option<Timestamp>,
    },
    /// The whole state, after an attempt.
    State {
        /// Which message.
        id: MessageId,
        /// All that changes in its life.
        state: Box<MessageState>,
    },
    /// The end of a message.
    Finish {
        /// Which message.
        id: MessageId,
        /// Why.
        how: Finish,
    },
}
