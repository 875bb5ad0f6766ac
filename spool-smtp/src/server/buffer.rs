//! The read buffer of one session: small while it waits for commands, large while a message comes in fast.
//!
//! What is beyond the small one is charged to the memory that all sessions share; where there is none, the session reads in
//! smaller pieces. A session that has carried a message costs no more afterwards than one that has not.

use spool_core::{Budget, Held};

/// Of a quiet session.
const SMALL: usize = 4 << 10;
/// Where a message fills the small one.
const LARGE: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many of them were used.
    start: usize,
    /// For a large one.
    held: Option<Held>,
    memory: Budget,
}

impl Buffer {
    pub(super) fn new(memory: Budget) -> Self {
        Self {
            bytes: Vec::with_capacity(SMALL),
            start: 0,
            held: None,
            memory,
        }
    }

    /// What was read and not used.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// All but the last `left` bytes were used.
    pub(super) fn keep(&mut self, left: usize) {
        self.start = self.bytes.len().saturating_sub(left);
    }

    /// Room behind what was read and not used, which stays; `None`: there is none.
    pub(super) fn behind(&mut self) -> Option<&mut Vec<u8>> {
        self.bytes.drain(..self.start.min(self.bytes.len()));
        self.start = 0;
        (self.bytes.len() < self.bytes.capacity()).then_some(&mut self.bytes)
    }

    /// Room for the next read, behind nothing: what was read before is used. In a message it grows when reads fill it.
    pub(super) fn space(&mut self, in_message: bool) -> &mut Vec<u8> {
        let full = self.bytes.len() == self.bytes.capacity();
        self.bytes.clear();
        self.start = 0;
        if in_message && full && self.held.is_none() {
            self.held = self.memory.hold(LARGE as u64);
            if self.held.is_some() {
                self.bytes = Vec::with_capacity(LARGE);
            }
        } else if !in_message && self.held.is_some() {
            self.bytes = Vec::with_capacity(SMALL);
            self.held = None;
        }
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, in_message: bool) -> usize {
        let space = buffer.space(in_message);
        space.resize(space.capacity(), b'x');
        let read = space.len();
        buffer.keep(0);
        read
    }

    #[test]
    fn a_session_that_carried_a_message_is_as_small_as_before() {
        let memory = Budget::new(1 << 20);
        let mut buffer = Buffer::new(memory.clone());
        assert_eq!(
            [false, false, true, true].map(|message| fill(&mut buffer, message)),
            [SMALL, SMALL, LARGE, LARGE]
        );
        assert_eq!(memory.used(), LARGE as u64);
        assert_eq!(fill(&mut buffer, false), SMALL);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn without_memory_a_message_is_read_in_small_pieces() {
        let memory = Budget::new(1000);
        let mut buffer = Buffer::new(memory);
        assert_eq!(
            [true, true].map(|message| fill(&mut buffer, message)),
            [SMALL, SMALL]
        );
    }
}
