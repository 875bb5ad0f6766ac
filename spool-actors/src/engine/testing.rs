//! What the tests of the engine share.

use super::content::{Content, Size};
use super::queue::{Known, Queue};
use super::{Now, PermitId, World};
use bytes::Bytes;
use spool_core::{
    Budget, Envelope, Message, MessageId, MessageState, NextHop, RetryPolicy, ReversePath, RouteOrigin,
    Routing, Section, Status, Timestamp,
};
use std::sync::Arc;

/// Replies and permits are numbers. The upper half of a permit is its epoch.
#[derive(Debug, Default)]
pub(super) struct Paper;

impl World for Paper {
    type Reply = u64;
    type Permit = u64;

    fn name(permit: &u64) -> PermitId {
        permit & u64::from(u32::MAX)
    }

    fn epoch(permit: &u64) -> u64 {
        permit >> 32
    }
}

pub(super) const AT: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const NOW: Now = Now { wall: AT, inside: AT };

pub(super) fn queue() -> Queue<Paper> {
    Queue::new(Routing::default())
}

pub(super) fn hops(text: &str) -> Arc<[NextHop]> {
    text.parse().into_iter().collect()
}

/// A message as the queue knows it.
pub(super) fn known(queue: &mut Queue<Paper>, id: u128, hop: &str) -> Known {
    Known {
        id: MessageId::from_u128(id),
        destination: queue.enlist(&hops(hop)),
        spooled_at: AT,
        size: Size::new(1, 1),
        expires_at: None,
        origin: RouteOrigin::Named,
        generation: queue.generation,
    }
}

/// A message that is due, and its content.
pub(super) fn content(id: u128, hop: &str) -> Box<Content> {
    let section = Section {
        envelope: Envelope::of(ReversePath::Null, ["a@example.net".parse().unwrap()]),
        next_hops: hops(hop),
        origin: RouteOrigin::Configured,
        retry: RetryPolicy::default(),
    };
    let state = MessageState::new(&section, Status::SendAt(AT), AT);
    let message = Message {
        id: MessageId::from_u128(id),
        parent: None,
        related: Vec::new().into(),
        flows: Vec::new(),
        spooled_at: AT,
        next_hops: section.next_hops,
        origin: section.origin,
        envelope: Arc::new(section.envelope),
        body_size: 0,
        state,
    };
    let held = Budget::new(1 << 20).hold(1).unwrap();
    Box::new(Content::new(message, Bytes::new(), held))
}
