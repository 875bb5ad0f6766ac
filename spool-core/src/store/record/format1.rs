//! The payloads of format 1, as they are read. Nothing writes them any more.
//!
//! What format 1 did not record: where next hops come from (taken as named by the submitter), why a message is frozen (nothing; the
//! reader of a message infers it), what was added under an idempotency key (nothing; everything matches it).

use super::{StateRecord as State, Telling};
use crate::attempt::{Attempt, RecipientIndex};
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
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
    key: Option<String>,
    telling: Telling,
    messages: Vec<MessageRecord>,
}

#[derive(Debug, Deserialize)]
struct MessageRecord {
    id: MessageId,
    status: Status,
    in_flight: Option<Timestamp>,
    state: Option<MessageState>,
    next_hops: Arc<[NextHop]>,
    retry: RetryPolicy,
    envelope: Envelope,
}

#[derive(Debug, Deserialize)]
struct MessageState {
    status: Status,
    in_flight: Option<Timestamp>,
    remaining: Vec<RecipientIndex>,
    failed: Vec<FailedRecipient>,
    schedule: Schedule,
    expires_at: Option<Timestamp>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
pub(in crate::store) struct MarkRecord {
    id: MessageId,
    status: Status,
    in_flight: Option<Timestamp>,
    telling: Telling,
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
            key: old.key.map(AddKey::named),
            conclusion: None,
            telling: old.telling,
            messages: old.messages.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MessageRecord> for super::MessageRecord {
    fn from(old: MessageRecord) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: None,
            in_flight: old.in_flight,
            state: old.state.map(Into::into),
            origin: RouteOrigin::Named,
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
            frozen: None,
            in_flight: old.in_flight,
            remaining: old.remaining,
            failed: old.failed,
            schedule: old.schedule,
            expires_at: old.expires_at,
            attempts: Attempts::of(old.attempts, 0),
            notices: Notices::default(),
        }
    }
}

impl From<MarkRecord> for super::MarkRecord {
    fn from(old: MarkRecord) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: None,
            in_flight: old.in_flight,
            telling: old.telling,
        }
    }
}

impl From<StateRecord> for State {
    fn from(old: StateRecord) -> Self {
        Self {
            id: old.id,
            state: old.state.into(),
            telling: old.telling,
        }
    }
}
