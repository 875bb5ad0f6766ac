//! The payloads of format 2 that differ from those of today, as they are read. Nothing writes them any more.
//!
//! What format 2 did not record: what a submitter was told of his message, and that a submitter is not known.

use super::{How, Telling};
use crate::attempt::RecipientIndex;
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{FailedRecipient, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::retry::{RetryPolicy, Schedule};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(in crate::store) struct AddRecord {
    spooled_at: Timestamp,
    parent: Option<MessageId>,
    flows: Vec<FlowId>,
    related: Vec<MessageId>,
    key: Option<AddKey>,
    conclusion: Option<ConclusionRecord>,
    telling: Telling,
    messages: Vec<MessageRecord>,
}

#[derive(Debug, Deserialize)]
struct ConclusionRecord {
    id: MessageId,
    outcome: OutcomeRecord,
}

#[derive(Debug, Deserialize)]
enum OutcomeRecord {
    Finish(How),
    State(Box<MessageState>),
}

#[derive(Debug, Deserialize)]
struct MessageRecord {
    id: MessageId,
    status: Status,
    frozen: Option<Box<Frozen>>,
    in_flight: Option<Timestamp>,
    state: Option<MessageState>,
    origin: RouteOrigin,
    next_hops: Arc<[NextHop]>,
    retry: RetryPolicy,
    envelope: Envelope,
}

#[derive(Debug, Deserialize)]
struct MessageState {
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
pub(in crate::store) struct StateRecord {
    id: MessageId,
    state: MessageState,
    telling: Telling,
}

impl From<AddRecord> for super::AddRecord {
    fn from(old: AddRecord) -> Self {
        Self {
            spooled_at: old.spooled_at,
            parent: old.parent,
            flows: old.flows,
            related: old.related,
            key: old.key,
            conclusion: old.conclusion.map(Into::into),
            telling: old.telling,
            messages: old.messages.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ConclusionRecord> for super::ConclusionRecord {
    fn from(old: ConclusionRecord) -> Self {
        Self {
            id: old.id,
            outcome: match old.outcome {
                OutcomeRecord::Finish(how) => super::OutcomeRecord::Finish(how),
                OutcomeRecord::State(state) => super::OutcomeRecord::State(Box::new((*state).into())),
            },
        }
    }
}

impl From<MessageRecord> for super::MessageRecord {
    fn from(old: MessageRecord) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: old.frozen,
            in_flight: old.in_flight,
            state: old.state.map(Into::into),
            origin: old.origin,
            next_hops: old.next_hops,
            retry: old.retry,
            envelope: old.envelope,
        }
    }
}

impl From<MessageState> for crate::message::MessageState {
    fn from(old: MessageState) -> Self {
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

impl From<StateRecord> for super::StateRecord {
    fn from(old: StateRecord) -> Self {
        Self {
            id: old.id,
            state: old.state.into(),
            telling: old.telling,
        }
    }
}
