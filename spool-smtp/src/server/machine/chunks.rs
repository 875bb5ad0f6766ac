//! BDAT (RFC 3030): a message in chunks of announced sizes.
//!
//! The octets of a chunk follow their command whatever is answered to it, so a refused chunk is read to its end and dropped;
//! only then comes the reply. Where their number is not known, or nobody wants to wait for their end, the session ends.
//! What is refused of a message refuses all of it: the transaction is over, and chunks that follow hear 503.

use super::super::data::{Decoder, Ending, PATIENCE};
use super::super::reply::{self, Reply};
use super::{Kind, Machine, Phase};
use spool_core::{FlowId, Mail};

/// What is still to come of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) left: u64,
    /// Whether the message ends with it.
    pub(super) last: bool,
}

/// Takes what belongs to the chunk off `input`.
fn take<'i>(left: &mut u64, input: &mut &'i [u8]) -> &'i [u8] {
    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let (part, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    *input = rest;
    part
}

impl Machine {
    /// The flow of the message in chunks that is open; all of it has one time limit.
    #[must_use]
    pub fn in_chunks(&self) -> Option<FlowId> {
        let open = self.transaction.as_ref()?;
        let begun = open.chunks.is_some() || matches!(self.phase, Phase::Chunk(..));
        begun.then_some(open.flow)
    }

    pub(super) fn bdat(&mut self, chunk: Chunk) {
        if let Some(refusal) = self.chunk_refusal(chunk.left) {
            return self.skip(chunk, refusal);
        }
        let begun = self.transaction.as_mut().and_then(|open| open.chunks.take());
        self.phase = match begun {
            Some(decoder) => Phase::Chunk(decoder, chunk),
            None => match self.takes(Kind::Messages) {
                Ok(()) => Phase::AdmitChunk(chunk),
                Err(refusal) => {
                    self.transaction = None;
                    return self.skip(chunk, refusal);
                }
            },
        };
    }

    /// Why a chunk of `size` octets is not taken.
    fn chunk_refusal(&mut self, size: u64) -> Option<Reply> {
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

    /// Drops the octets of a chunk, then says why; at once, when they are too many to wait for.
    pub(super) fn skip(&mut self, chunk: Chunk, refusal: Reply) {
        let patience = self.config.message_size.saturating_add(PATIENCE);
        if usize::try_from(chunk.left).map_or(true, |size| size > patience) {
            return self.say(reply::FAR_TOO_BIG);
        }
        self.phase = Phase::Skip(chunk.left, refusal);
    }

    /// The intake would take the message whose first chunk this is.
    pub(super) fn begin_chunks(&mut self, chunk: Chunk) {
        match self.decoder(Ending::Counted) {
            Ok(decoder) => self.phase = Phase::Chunk(Box::new(decoder), chunk),
            Err(refusal) => {
                self.transaction = None;
                self.skip(chunk, refusal);
            }
        }
    }

    /// Drops what has come of a refused chunk; whether that was all.
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

    /// Reads what has come of a chunk; `None`: more of it is to come. The mail, when it ended with this chunk and is to be
    /// handed over.
    pub(super) fn read_chunk(&mut self, input: &mut &[u8]) -> Option<Option<Mail>> {
        let Phase::Chunk(decoder, chunk) = &mut self.phase else {
            return Some(None);
        };
        let mut part = take(&mut chunk.left, input);
        decoder.feed(&mut part);
        if chunk.left > 0 {
            return None;
        }
        let last = chunk.last;
        let Phase::Chunk(decoder, _) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return Some(None);
        };
        self.progress = true;
        Some(self.end_chunk(decoder, last))
    }

    fn end_chunk(&mut self, mut decoder: Box<Decoder>, last: bool) -> Option<Mail> {
        if last {
            decoder.end();
            let open = self.transaction.take()?;
            return self.hand_over(open, *decoder, reply::TOO_BIG);
        }
        if let Some(refusal) = decoder.refusal() {
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
