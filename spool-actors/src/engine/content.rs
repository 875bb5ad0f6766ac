//! The content of a message in memory: what an attempt needs of it.

use bytes::Bytes;
use spool_core::{Event, Held, Message, NextHop};
use std::sync::Arc;

/// A message with its body, and the memory it was granted.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) message: Message,
    /// It carries its own hold on memory.
    pub(crate) body: Bytes,
    /// Whether the disk has other next hops than the message here.
    pub(crate) route_unwritten: bool,
    /// Events to be recorded with the start of its attempt.
    pub(crate) events: Vec<Event>,
    /// What all but the body takes.
    pub(crate) held: Held,
}

/// Bytes that a message takes in memory once it was read. It takes eight bytes of an entry of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    body: u32,
    rest: u32,
}

impl Size {
    /// Of a body, and of all else.
    pub(crate) fn new(body: u64, rest: u64) -> Self {
        let [body, rest] = [body, rest].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        Self { body, rest }
    }

    /// So many bytes of body, and the same of all else.
    pub(crate) fn with_body(self, body: u64) -> Self {
        Self::new(body, u64::from(self.rest))
    }

    /// The same body, and so many bytes of all else.
    pub(crate) fn with_rest(self, rest: u64) -> Self {
        Self::new(u64::from(self.body), rest)
    }

    pub(crate) fn whole(self) -> u64 {
        self.rest() + u64::from(self.body)
    }

    /// All but the body.
    pub(crate) fn rest(self) -> u64 {
        u64::from(self.rest)
    }
}

impl Content {
    /// A message as the disk has it.
    pub(crate) const fn new(message: Message, body: Bytes, held: Held) -> Self {
        Self {
            message,
            body,
            route_unwritten: false,
            events: Vec::new(),
            held,
        }
    }

    /// Sets where the message goes.
    pub(crate) fn set_next_hops(&mut self, next_hops: &Arc<[NextHop]>) {
        if self.message.next_hops != *next_hops {
            self.message.next_hops = Arc::clone(next_hops);
            self.route_unwritten = true;
        }
    }

    pub(crate) fn size(&self) -> Size {
        Size::new(self.message.body_size, self.held.bytes())
    }
}
