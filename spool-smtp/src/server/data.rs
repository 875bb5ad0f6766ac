//! Decodes one message: removes stuffed dots and finds its end, over any chunk borders.
//!
//! Only CRLF.CRLF in the received bytes ends a message, unless the bytes are counted (BDAT); then a dot has no meaning. The handling of
//! bare newlines never creates or hides an end. The size limit and the budget that all sessions share bound the memory: after a
//! message is refused, its bytes are counted and discarded until it ends.

use super::config::BareNewline;
use super::reply::{self, ServerReply};
use bytes::Bytes;
use memchr::memchr3;
use spool_core::Held;

/// How many bytes of a message that is too big are read before the connection is closed.
pub(super) const PATIENCE: usize = 64 << 20;

const EMPTY_LINE: &[u8] = b"\r\n";

/// How a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// CRLF.CRLF, and dots are stuffed (DATA).
    Dot,
    /// The caller counts the bytes (BDAT) and calls [`Decoder::end`].
    Counted,
}

/// The position of the next byte in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// After a CRLF, or at the start of the message.
    LineStart,
    /// After a dot at the start of a line; the dot is held back.
    Dot,
    /// After dot and CR at the start of a line; both are held back.
    DotCr,
    /// Anywhere else.
    Within,
    /// After a CR, which is held back.
    Cr,
}

/// The decoder of one message.
#[derive(Debug)]
pub(super) struct Decoder {
    body: Vec<u8>,
    /// The memory of the body, beyond `base`; its capacity never exceeds it.
    held: Held,
    /// The memory of the recipients.
    base: u64,
    limit: usize,
    /// The length of the trace header, with the empty line after it where one was added.
    trace: usize,
    bare_newline: BareNewline,
    ending: Ending,
    position: Position,
    /// Why the message is refused, if that is known already.
    pub(super) refusal: Option<ServerReply>,
    /// Bytes discarded since the message was refused.
    dropped: usize,
}

impl Decoder {
    /// Appends up to `size_limit` bytes to `body`, which may hold a trace header already; `held` covers its capacity, and the
    /// recipients.
    pub(super) fn new(
        body: Vec<u8>,
        held: Held,
        size_limit: usize,
        bare_newline: BareNewline,
        ending: Ending,
    ) -> Self {
        Self {
            limit: body.len().saturating_add(size_limit),
            base: held.bytes().saturating_sub(body.capacity() as u64),
            trace: body.len(),
            body,
            held,
            bare_newline,
            ending,
            position: Position::LineStart,
            refusal: None,
            dropped: 0,
        }
    }

    /// Takes the bytes that belong to the message from `input`; returns whether it has ended. It also ends when the client sends far more
    /// than is accepted: then the refusal closes the connection, because the rest must not be read as commands.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> bool {
        while let Some(&byte) = input.first() {
            match self.position {
                Position::LineStart if byte == b'.' && self.ending == Ending::Dot => {
                    self.position = Position::Dot;
                    *input = rest(input, 1);
                }
                Position::LineStart | Position::Within => self.run(input),
                Position::Dot if byte == b'\r' => {
                    self.position = Position::DotCr;
                    *input = rest(input, 1);
                }
                Position::Dot => self.position = Position::Within,
                Position::DotCr if byte == b'\n' => {
                    *input = rest(input, 1);
                    return true;
                }
                Position::Cr if byte == b'\n' => {
                    self.push(b"\r\n");
                    self.position = Position::LineStart;
                    *input = rest(input, 1);
                }
                // Only CRLF starts a line; a dot after a bare CR is not stuffed.
                Position::DotCr | Position::Cr => {
                    self.bare();
                    self.position = Position::Within;
                }
            }
            if self.dropped > PATIENCE && self.ending == Ending::Dot {
                self.refusal = self.refusal.map(|refusal| match refusal {
                    reply::TOO_BIG => reply::FAR_TOO_BIG,
                    other => other.closing(),
                });
                return true;
            }
        }
        false
    }

    /// Copies as many complete clean lines as possible, then handles the byte that stopped it.
    fn run(&mut self, input: &mut &[u8]) {
        let bytes = *input;
        let mut clean = 0;
        loop {
            let Some(found) = memchr3(b'\r', b'\n', 0, rest(bytes, clean)) else {
                self.push(bytes);
                self.position = Position::Within;
                *input = &[];
                return;
            };
            let at = clean + found;
            match (bytes.get(at), bytes.get(at + 1), bytes.get(at + 2)) {
                (Some(b'\r'), Some(b'\n'), Some(next)) if *next != b'.' => clean = at + 2,
                (Some(b'\r'), Some(b'\n'), _) => {
                    self.push(head(bytes, at + 2));
                    self.position = Position::LineStart;
                    *input = rest(bytes, at + 2);
                    return;
                }
                (stop, _, _) => {
                    self.push(head(bytes, at));
                    *input = rest(bytes, at + 1);
                    self.position = Position::Within;
                    match stop {
                        Some(b'\r') => self.position = Position::Cr,
                        Some(b'\n') => self.bare(),
                        Some(_) | None => self.refuse_unclean(),
                    }
                    return;
                }
            }
        }
    }

    fn bare(&mut self) {
        match self.bare_newline {
            BareNewline::Reject => self.refuse_unclean(),
            BareNewline::Normalize => self.push(b"\r\n"),
        }
    }

    fn refuse_unclean(&mut self) {
        self.refusal = Some(reply::SMUGGLING);
        self.drop_body();
    }

    fn drop_body(&mut self) {
        self.body = Vec::new();
        self.held.resize(self.base);
    }

    fn push(&mut self, bytes: &[u8]) {
        let first = self.trace > 0 && self.body.len() == self.trace;
        if first && matches!(bytes, [b' ' | b'\t', ..]) {
            // It would continue the trace header. With the empty line it is the first line of the body, as it was before.
            self.limit = self.limit.saturating_add(EMPTY_LINE.len());
            self.trace = self.trace.saturating_add(EMPTY_LINE.len());
            self.append(EMPTY_LINE);
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.refusal.is_none() {
            let length = self.body.len() + bytes.len();
            self.refusal = match length > self.limit {
                true => Some(reply::TOO_BIG),
                false if self.make_room(length) => return self.body.extend_from_slice(bytes),
                false => Some(reply::BUSY),
            };
            self.drop_body();
        }
        self.dropped = self.dropped.saturating_add(bytes.len());
    }

    /// Doubles the capacity. If the budget does not allow that, grows it by less, so that a message is refused only if the message itself
    /// does not fit.
    fn make_room(&mut self, length: usize) -> bool {
        let capacity = self.body.capacity();
        if length <= capacity {
            return true;
        }
        let steps = [capacity, capacity / 4, capacity / 32, 0];
        steps.into_iter().any(|step| {
            let larger = length.max(capacity.saturating_add(step)).min(self.limit);
            let more = u64::try_from(larger - capacity).unwrap_or(u64::MAX);
            let granted = self.held.grow(more);
            if granted {
                // Exactly, because `reserve` would double it without a charge.
                self.body.reserve_exact(larger - self.body.len());
            }
            granted
        })
    }

    /// The number of bytes of the message, without the trace header.
    pub(super) fn length(&self) -> usize {
        self.body.len().saturating_sub(self.trace)
    }

    /// All counted bytes have arrived. A last line without CRLF gets one.
    pub(super) fn end(&mut self) {
        if self.position == Position::Cr {
            self.bare();
            self.position = match self.bare_newline {
                BareNewline::Reject => Position::Within,
                BareNewline::Normalize => Position::LineStart,
            };
        }
        if self.position != Position::LineStart && self.length() > 0 {
            self.limit = self.limit.saturating_add(EMPTY_LINE.len());
            self.push(EMPTY_LINE);
        }
    }

    /// The complete message with its memory charge, or why it is refused.
    pub(super) fn finish(self) -> Result<(Bytes, Held), ServerReply> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok((Bytes::from(self.body), self.held)),
        }
    }
}

fn head(bytes: &[u8], end: usize) -> &[u8] {
    bytes.get(..end).unwrap_or(bytes)
}

fn rest(bytes: &[u8], start: usize) -> &[u8] {
    bytes.get(start..).unwrap_or_default()
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
