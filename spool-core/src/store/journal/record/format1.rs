//! The records of format 1, which are only read.
//!
//! Format 1 did not record where next hops come from (they are taken as named by the submitter), why a message is frozen
//! (the reader of a message infers it), and what was added under an idempotency key (any submission matches the key).

use super::current::{MarkRecord, StateRecord};
use crate::attempt::{Attempt, RecipientIndex};
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::event::Event;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{FailedRecipient, MessageState, RouteOrigin, Section, Status};
use crate::next_hop::NextHop;
use crate::retry::{RetryPolicy, Schedule};
use crate::store::change::{Addition, NewMessage};
use crate::store::numbering;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(in crate::store) struct AddRecord1 {
    spooled_at: Timestamp,
    parent: Option<MessageId>,
    flows: Vec<FlowId>,
    related: Vec<MessageId>,
    key: Option<String>,
    #[serde(deserialize_with = "numbering::deserialize")]
    events: Vec<Event>,
    messages: Vec<MessageRecord1>,
}

#[derive(Debug, Deserialize)]
struct MessageRecord1 {
    id: MessageId,
    status: Status,
    in_flight: Option<Timestamp>,
    state: Option<State1>,
    next_hops: Arc<[NextHop]>,
    retry: RetryPolicy,
    envelope: Envelope,
}

#[derive(Debug, Deserialize)]
struct State1 {
    status: Status,
    in_flight: Option<Timestamp>,
    remaining: Vec<RecipientIndex>,
    failed: Vec<FailedRecipient>,
    schedule: Schedule,
    expires_at: Option<Timestamp>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
pub(in crate::store) struct MarkRecord1 {
    id: MessageId,
    status: Status,
    in_flight: Option<Timestamp>,
    #[serde(deserialize_with = "numbering::deserialize")]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(in crate::store) struct StateRecord1 {
    id: MessageId,
    state: State1,
    #[serde(deserialize_with = "numbering::deserialize")]
    events: Vec<Event>,
}

impl From<AddRecord1> for Addition {
    fn from(old: AddRecord1) -> Self {
        Self {
            spooled_at: old.spooled_at,
            parent: old.parent,
            flows: old.flows,
            related: old.related,
            key: old.key.map(AddKey::new),
            conclusion: None,
            events: old.events,
            messages: old.messages.into_iter().map(Into::into).collect(),
            body: Bytes::new(),
        }
    }
}

impl From<MessageRecord1> for NewMessage {
    fn from(old: MessageRecord1) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: None,
            in_flight: old.in_flight,
            state: old.state.map(|state| Box::new(state.into())),
            section: Section {
                origin: RouteOrigin::Named,
                next_hops: old.next_hops,
                retry: old.retry,
                envelope: old.envelope,
            },
        }
    }
}

impl From<State1> for MessageState {
    fn from(old: State1) -> Self {
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

impl From<MarkRecord1> for MarkRecord<'_> {
    fn from(old: MarkRecord1) -> Self {
        Self {
            id: old.id,
            status: old.status,
            frozen: Cow::Owned(None),
            in_flight: old.in_flight,
            events: old.events.into(),
        }
    }
}

impl From<StateRecord1> for StateRecord<'_> {
    fn from(old: StateRecord1) -> Self {
        Self {
            id: old.id,
            state: Cow::Owned(old.state.into()),
            events: old.events.into(),
        }
    }
}
