//! BDAT (RFC 3030): a message in chunks of announced sizes.
//!
//! The octets of a chunk follow their command whatever the reply, so a refused chunk is read to its end and discarded
//! before the reply is sent. If their number is unknown or too large, the session ends.
//! Refusing a part of a message refuses all of it: the transaction ends, and later chunks are answered 503.

use super::super::data::{Decoder, Ending, PATIENCE};
use super::super::reply::{self, ServerReply};
use super::{Admit, Machine, Phase};
use spool_core::{FlowId, Mail};

/// The rest of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) left: u64,
    /// Whether the message ends with it.
    pub(super) last: bool,
}

/// Takes the bytes of the chunk from `input`.
fn take<'i>(left: &mut u64, input: &mut &'i [u8]) -> &'i [u8] {
    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let (part, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    *input = rest;
    part
}

impl Machine {
    /// The flow of the open message in chunks; the whole message has one time limit.
    pub(in crate::server) fn in_chunks(&self) -> Option<FlowId> {
        let open = self.transaction.as_ref()?;
        let begun = open.chunks.is_some() || matches!(self.phase, Phase::Chunk(..));
        begun.then_some(open.flow)
    }

    pub(super) fn bdat(&mut self, chunk: Chunk, admit: Admit<'_>) {
        if let Some(refusal) = self.chunk_refusal(chunk.left) {
            return self.skip(chunk, refusal);
        }
        let begun = self.transaction.as_mut().and_then(|open| open.chunks.take());
        self.phase = match begun {
            Some(decoder) => Phase::Chunk(decoder, chunk),
            None => match self.begin_message(Ending::Counted, admit) {
                Ok(decoder) => Phase::Chunk(Box::new(decoder), chunk),
                Err(refusal) => {
                    self.transaction = None;
                    return self.skip(chunk, refusal);
                }
            },
        };
    }

    /// Why a chunk of `size` octets is refused.
    fn chunk_refusal(&mut self, size: u64) -> Option<ServerReply> {
        let Some(open) = &self.transaction else {
            return Some(reply::MAIL_FIRST);
        };
        if open.recipients.is_empty() {
            return Some(reply::NO_RECIPIENTS);
        }
        let so_far = open.chunks.as_ref().map_or(0, |decoder| decoder.length());
        let whole = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_add(so_far));
        if whole.is_none_or(|whole| whole > self.config.message_size) {
            self.transaction = None;
            return Some(reply::TOO_BIG);
        }
        None
    }

    /// Discards the octets of a chunk, then sends the reply; at once, if there are too many.
    pub(super) fn skip(&mut self, chunk: Chunk, refusal: ServerReply) {
        let patience = self.config.message_size.saturating_add(PATIENCE);
        if usize::try_from(chunk.left).map_or(true, |size| size > patience) {
            return self.say(reply::FAR_TOO_BIG);
        }
        self.phase = Phase::Skip(chunk.left, refusal);
    }

    /// Discards input of a refused chunk; returns whether the chunk is complete.
    pub(super) fn skip_chunk(&mut self, input: &mut &[u8]) -> bool {
        let Phase::Skip(left, refusal) = &mut self.phase else {
            return true;
        };
        take(left, input);
        if *left > 0 {
            return false;
        }
        let refusal = *refusal;
        self.phase = Phase::Command;
        self.progress = true;
        self.say(refusal);
        true
    }

    /// Reads input of a chunk; `None`: it is not complete. Returns the mail if this chunk completes it.
    pub(super) fn read_chunk(&mut self, input: &mut &[u8]) -> Option<Option<Mail>> {
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let Phase::Chunk(mut decoder, mut chunk) = phase else {
            self.phase = phase;
            return Some(None);
        };
        let mut part = take(&mut chunk.left, input);
        decoder.feed(&mut part);
        if chunk.left > 0 {
            self.phase = Phase::Chunk(decoder, chunk);
            return None;
        }
        self.progress = true;
        Some(self.end_chunk(decoder, chunk.last))
    }

    fn end_chunk(&mut self, mut decoder: Box<Decoder>, last: bool) -> Option<Mail> {
        if last {
            decoder.end();
            let open = self.transaction.take()?;
            return self.hand_over(open, *decoder);
        }
        if let Some(refusal) = decoder.refusal {
            self.transaction = None;
            self.refuse_message(refusal);
        } else if let Some(open) = &mut self.transaction {
            open.chunks = Some(decoder);
            self.say(reply::CHUNK_OK);
        }
        None
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
