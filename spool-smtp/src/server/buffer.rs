//! The read buffer of one session: small while it waits for commands, large while a message arrives fast.
//!
//! The large buffer is charged to the memory that all sessions share; without memory, the session reads in
//! smaller pieces. After a message a session uses no more memory than before.

use spool_core::{Budget, Held};

/// The size for an idle session.
const SMALL: usize = 4 << 10;
/// The size while a message fills the small one.
const LARGE: usize = 64 << 10;

/// The read buffer; see the module.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes were consumed.
    start: usize,
    /// The charge for a large buffer.
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

    /// The bytes that were read and not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Marks all but the last `left` bytes as consumed.
    pub(super) fn keep(&mut self, left: usize) {
        self.start = self.bytes.len().saturating_sub(left);
    }

    /// Space after the bytes that are not consumed, which stay; `None`: there is none.
    pub(super) fn behind(&mut self) -> Option<&mut Vec<u8>> {
        self.bytes.drain(..self.start.min(self.bytes.len()));
        self.start = 0;
        (self.bytes.len() < self.bytes.capacity()).then_some(&mut self.bytes)
    }

    /// Space for the next read, after all bytes were consumed. During a message the buffer grows when reads fill it.
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
