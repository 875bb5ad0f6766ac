//! The records of format 2 that differ from those of format 3. They are only read.
//!
//! Format 2 did not record the notices about a message, nor that a submitter is not known.

use super::current::StateRecord;
use crate::attempt::RecipientIndex;
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::event::Event;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{FailedRecipient, MessageState, RouteOrigin, Section, Status};
use crate::next_hop::NextHop;
use crate::retry::{RetryPolicy, Schedule};
use crate::store::change::{Addition, Conclusion, Finish, NewMessage, Outcome};
use crate::store::numbering;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(in crate::store) struct AddRecord2 {
    spooled_at: Timestamp,
    parent: Option<MessageId>,
    flows: Vec<FlowId>,
    related: Vec<MessageId>,
    key: Option<AddKey>,
    conclusion: Option<ConclusionRecord2>,
    #[serde(deserialize_with = "numbering::deserialize")]
    events: Vec<Event>,
    messages: Vec<MessageRecord2>,
}

#[derive(Debug, Deserialize)]
struct ConclusionRecord2 {
    id: MessageId,
    outcome: OutcomeRecord2,
}

#[derive(Debug, Deserialize)]
enum OutcomeRecord2 {
    Finish(Finish),
    State(Box<State2>),
}

#[derive(Debug, Deserialize)]
struct MessageRecord2 {
    id: MessageId,
    status: Status,
    frozen: Option<Box<Frozen>>,
    in_flight: Option<Timestamp>,
    state: Option<State2>,
    origin: RouteOrigin,
    next_hops: Arc<[NextHop]>,
    retry: RetryPolicy,
    envelope: Envelope,
}

#[derive(Debug, Deserialize)]
struct State2 {
    status: Status,
    frozen: Option<Box<Frozen>>,
    in_flight: Option<Timestamp>,
    remaining: Vec<RecipientIndex>,
    failed: Vec<FailedRecipient>,
    schedule: Schedule,
    expires_at: Option<Timestamp>,
    attempts: Attempts,
}

#[derive(Debug, Deserialize)]
pub(in crate::store) struct StateRecord2 {
    id: MessageId,
    state: State2,
    #[serde(deserialize_with = "numbering::deserialize")]
    events: Vec<Event>,
}

impl From<AddRecord2> for Addition {
    fn from(old: AddRecord2) -> Self {
        Self {
            spooled_at: old.spooled_at,
            parent: old.parent,
            flows: old.flows,
            related: old.related,
            key: old.key,
            conclusion: old.conclusion.map(Into::into),
            events: old.events,
            messages: old.messages.into_iter().map(Into::into).collect(),
            body: Bytes::new(),
        }
    }
}

impl From<ConclusionRecord2> for Conclusion {
    fn from(old: ConclusionRecord2) -> Self {
        Self {
            id: old.id,
            outcome: match old.outcome {
                OutcomeRecord2::Finish(how) => Outcome::Finish(how),
                OutcomeRecord2::State(state) => Outcome::State(Box::new((*state).into())),
            },
        }
    }
}

impl From<MessageRecord2> for NewMessage {
    fn from(old: MessageRecord2) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: old.frozen,
            in_flight: old.in_flight,
            state: old.state.map(|state| Box::new(state.into())),
            section: Section {
                origin: old.origin,
                next_hops: old.next_hops,
                retry: old.retry,
                envelope: old.envelope,
            },
        }
    }
}

impl From<State2> for MessageState {
    fn from(old: State2) -> Self {
        Self {
            status: old.status,
            frozen: old.frozen,
            in_flight: old.in_flight,
            remaining: old.remaining,
            failed: old.failed,
            schedule: old.schedule,
            expires_at: old.expires_at,
            attempts: old.attempts,
            notices: Notices::default(),
        }
    }
}

impl From<StateRecord2> for StateRecord<'_> {
    fn from(old: StateRecord2) -> Self {
        Self {
            id: old.id,
            state: Cow::Owned(old.state.into()),
            events: old.events.into(),
        }
    }
}
