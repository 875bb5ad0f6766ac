//! What an attempt needs of a message: everything the disk holds of it, in memory for a while.

use crate::pace::Begun;
use bytes::Bytes;
use spool_core::store::{Store, StoreError};
use spool_core::{Held, Message, MessageId, NextHop};
use std::sync::Arc;

/// A message with its body, and the memory it was granted.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) message: Message,
    /// It carries its own hold on memory.
    pub(super) body: Bytes,
    /// Its session.
    pub(super) session: Option<Begun>,
    /// Whether the disk has other next hops than the message here.
    pub(super) route_unwritten: bool,
    /// What all but the body takes.
    pub(super) held: Held,
}

/// Bytes that a message takes in memory once it was read. An entry of the queue has it in eight bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    body: u32,
    rest: u32,
}

impl Size {
    /// Of a body, and of all else.
    pub(super) fn new(body: u64, rest: u64) -> Self {
        let [body, rest] = [body, rest].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        Self { body, rest }
    }

    /// So many bytes of body, and the same of all else.
    pub(super) fn with_body(self, body: u64) -> Self {
        Self::new(body, u64::from(self.rest))
    }

    /// The same body, and so many bytes of all else.
    pub(super) fn with_rest(self, rest: u64) -> Self {
        Self::new(u64::from(self.body), rest)
    }

    pub(super) fn whole(self) -> u64 {
        self.rest() + u64::from(self.body)
    }

    /// All but the body.
    pub(super) fn rest(self) -> u64 {
        u64::from(self.rest)
    }
}

impl Content {
    /// A message as the disk has it.
    pub(super) const fn new(message: Message, body: Bytes, held: Held) -> Self {
        Self {
            message,
            body,
            session: None,
            route_unwritten: false,
            held,
        }
    }

    /// Sets where the message goes.
    pub(super) fn set_next_hops(&mut self, next_hops: &Arc<[NextHop]>) {
        if self.message.next_hops != *next_hops {
            self.message.next_hops = Arc::clone(next_hops);
            self.route_unwritten = true;
        }
    }

    pub(super) fn size(&self) -> Size {
        Size::new(self.message.body_size, self.held.bytes())
    }

    /// Reads a message from the disk into the memory that was granted for it.
    pub(super) fn read(store: &Store, id: MessageId, mut held: Held) -> Result<Box<Self>, StoreError> {
        let message = store.load(id)?;
        let body = store.body(id)?;
        let body = held.split(message.body_size).carried_by(body);
        // Known now, and there: it may be more than was expected.
        held.resize(message.footprint());
        Ok(Box::new(Self::new(message, body, held)))
    }
}
