//! Decodes the text of one message: takes the stuffed dots off and finds its end, over any chunk borders.
//!
//! CRLF.CRLF in the bytes as they came is the only end, unless the bytes are counted (BDAT): then no dot means anything. What is done to bare newlines never makes or hides one. Memory
//! is bounded by the size limit and by the budget that all sessions share: once a message is refused its bytes are counted and dropped until it ends.

use super::config::BareNewline;
use super::reply::{self, Reply};
use bytes::Bytes;
use memchr::memchr3;
use spool_core::Held;

/// How much is read on after a message became too big, before the connection is given up.
pub(super) const PATIENCE: usize = 64 << 20;

const EMPTY_LINE: &[u8] = b"\r\n";

/// What ends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// CRLF.CRLF, and dots are stuffed (DATA).
    Dot,
    /// Whoever feeds it counts (BDAT), and says [`Decoder::end`].
    Counted,
}

/// Where in a line the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Behind a CRLF, or at the very start.
    LineStart,
    /// Behind a dot at the start of a line; the dot is held back.
    Dot,
    /// Behind dot and CR at the start of a line; both are held back.
    DotCr,
    /// Anywhere else.
    Within,
    /// Behind a CR, which is held back.
    Cr,
}

/// What a chunk brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The message goes on.
    More,
    /// The message ended; the rest of the chunk is not part of it.
    End,
    /// The client sends far more than it may; it is not worth waiting for the end.
    Hopeless,
}

/// The decoder of one message.
#[derive(Debug)]
pub(super) struct Decoder {
    body: Vec<u8>,
    /// What the body may take of memory, beside `base`; its capacity never exceeds it.
    held: Held,
    /// What is held for the recipients.
    base: u64,
    limit: usize,
    /// The length of the trace header, with the empty line behind it where one had to be added.
    trace: usize,
    bare_newline: BareNewline,
    ending: Ending,
    position: Position,
    /// A bare CR, a bare LF or a NUL that is to be refused was seen.
    unclean: bool,
    /// The message is larger than the limit.
    too_big: bool,
    /// There was no memory for it.
    no_room: bool,
    /// Bytes dropped since the message was refused.
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
            unclean: false,
            too_big: false,
            no_room: false,
            dropped: 0,
        }
    }

    /// Takes what belongs to the message off `input`.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Progress {
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
                    return Progress::End;
                }
                Position::Cr if byte == b'\n' => {
                    self.push(b"\r\n");
                    self.position = Position::LineStart;
                    *input = rest(input, 1);
                }
                // A line start is what CRLF makes; behind a bare CR a dot is a dot like any other.
                Position::DotCr | Position::Cr => {
                    self.bare();
                    self.position = Position::Within;
                }
            }
            if self.dropped > PATIENCE {
                return Progress::Hopeless;
            }
        }
        Progress::More
    }

    /// Copies as many whole clean lines as there are at once, then deals with the one byte that stopped it.
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
        self.unclean = true;
        self.drop_body();
    }

    fn drop_body(&mut self) {
        self.body = Vec::new();
        self.held.resize(self.base);
    }

    fn push(&mut self, bytes: &[u8]) {
        let first = self.trace > 0 && self.body.len() == self.trace;
        if first && matches!(bytes, [b' ' | b'\t', ..]) {
            // It would continue the trace header: the empty line makes it the first line of the body, which it is without a header.
            self.limit = self.limit.saturating_add(EMPTY_LINE.len());
            self.trace = self.trace.saturating_add(EMPTY_LINE.len());
            self.append(EMPTY_LINE);
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        if !self.unclean && !self.too_big && !self.no_room {
            let length = self.body.len() + bytes.len();
            self.too_big = length > self.limit;
            self.no_room = !self.too_big && !self.make_room(length);
            if !self.too_big && !self.no_room {
                return self.body.extend_from_slice(bytes);
            }
            self.drop_body();
        }
        self.dropped = self.dropped.saturating_add(bytes.len());
    }

    /// Doubles the capacity; where the budget does not go so far, grows it by less, so that a message is refused only when it does not fit
    /// itself.
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
                // Exactly, where `reserve` would double: what is beyond it is not charged.
                self.body.reserve_exact(larger - self.body.len());
            }
            granted
        })
    }

    /// How many bytes of the message it has, without what was added in front.
    pub(super) fn length(&self) -> usize {
        self.body.len().saturating_sub(self.trace)
    }

    /// Why the message is refused already, whatever is still to come.
    pub(super) fn refusal(&self) -> Option<Reply> {
        if self.unclean {
            Some(reply::SMUGGLING)
        } else if self.too_big {
            Some(reply::TOO_BIG)
        } else if self.no_room {
            Some(reply::BUSY)
        } else {
            None
        }
    }

    /// All counted bytes are here. A last line without its end gets one: no message leaves without it.
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

    /// The message once it ended, with its hold on memory; or why it is refused.
    pub(super) fn finish(self) -> Result<(Bytes, Held), Reply> {
        match self.refusal() {
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use spool_core::Budget;

    /// The decoded message or its refusal, and what was left behind it; `None` when it did not end.
    type Outcome = Option<(Result<Vec<u8>, Reply>, Vec<u8>)>;

    fn decode(input: &[u8], sizes: &[usize], limit: usize, bare: BareNewline) -> Outcome {
        let held = Budget::new(1 << 20).hold(0).unwrap();
        let mut decoder = Decoder::new(Vec::new(), held, limit, bare, Ending::Dot);
        let mut sizes = sizes.iter().cycle();
        let mut left = input;
        while !left.is_empty() {
            let size = (*sizes.next().unwrap()).clamp(1, left.len());
            let mut chunk = &left[..size];
            let progress = decoder.feed(&mut chunk);
            left = &left[size - chunk.len()..];
            if progress == Progress::End {
                return Some((decoder.finish().map(|(body, _)| body.to_vec()), left.to_vec()));
            }
            assert!(chunk.is_empty());
        }
        None
    }

    /// The same by definition: find the end, split into lines, take a dot off each, look at what is left in them.
    fn naive(input: &[u8], limit: usize, bare: BareNewline) -> Outcome {
        let find = |needle: &[u8], hay: &[u8]| hay.windows(needle.len()).position(|w| w == needle);
        let (text, left) = if let Some(left) = input.strip_prefix(b".\r\n") {
            (&[][..], left)
        } else {
            let end = find(b"\r\n.\r\n", input)?;
            (&input[..end + 2], &input[end + 5..])
        };
        let (mut out, mut lines) = (Vec::new(), text);
        let mut unclean = false;
        while let Some(end) = find(b"\r\n", lines) {
            let line = &lines[..end];
            lines = &lines[end + 2..];
            for &byte in line.strip_prefix(b".").unwrap_or(line) {
                match byte {
                    0 => unclean = true,
                    b'\r' | b'\n' if bare == BareNewline::Normalize => out.extend_from_slice(b"\r\n"),
                    b'\r' | b'\n' => unclean = true,
                    byte => out.push(byte),
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        let result = match (unclean, out.len() > limit) {
            (true, _) => Err(reply::SMUGGLING),
            (false, true) => Err(reply::TOO_BIG),
            (false, false) => Ok(out),
        };
        Some((result, left.to_vec()))
    }

    #[test]
    fn the_rest_of_a_message_that_is_too_big_is_read_so_far_and_no_further() {
        let held = Budget::new(1 << 20).hold(0).unwrap();
        let mut decoder = Decoder::new(Vec::new(), held, 10, BareNewline::Reject, Ending::Dot);
        let piece = ["x".repeat(1022), "\r\n".to_owned()].concat().repeat(1024);
        let pieces = (1..=70).find(|_| decoder.feed(&mut piece.as_bytes()) == Progress::Hopeless);
        assert_eq!(pieces, Some(65), "pieces of 1 MiB");
    }

    #[test]
    fn dots_and_ends() {
        for (input, expected) in [
            (".\r\n", Some("")),
            ("\r\n.\r\n", Some("\r\n")),
            ("a\r\n.\r\n", Some("a\r\n")),
            ("..\r\n.\r\n", Some(".\r\n")),
            (".a\r\n.\r\n", Some("a\r\n")),
            ("a\r\n..b\r\n...\r\n.\r\n", Some("a\r\n.b\r\n..\r\n")),
            ("a.\r\n.\r\n", Some("a.\r\n")),
            ("\u{fc}\u{7f}\r\n.\r\n", Some("\u{fc}\u{7f}\r\n")),
            ("a\r\n.", None),
            ("a\r\n.\r", None),
            ("a.\r\n", None),
            ("", None),
        ] {
            let outcome = decode(input.as_bytes(), &[usize::MAX], 99, BareNewline::Reject);
            let body = outcome.map(|(body, left)| {
                assert_eq!(left, b"");
                String::from_utf8(body.unwrap()).unwrap()
            });
            assert_eq!(body.as_deref(), expected, "{input:?}");
        }
    }

    #[test]
    fn a_first_line_that_begins_with_white_space_does_not_continue_the_trace_header() {
        for (input, expected) in [
            (" x\r\n.\r\n", "\r\n x\r\n"),
            ("\tx\r\n.\r\n", "\r\n\tx\r\n"),
            (". x\r\n.\r\n", "\r\n x\r\n"),
            ("a: b\r\n c\r\n.\r\n", "a: b\r\n c\r\n"),
            ("\r\n x\r\n.\r\n", "\r\n x\r\n"),
            (".\r\n", ""),
        ] {
            let held = Budget::new(1 << 20).hold(0).unwrap();
            let trace = b"Received: y\r\n".to_vec();
            let mut decoder = Decoder::new(trace, held, 10, BareNewline::Reject, Ending::Dot);
            for byte in input.as_bytes() {
                decoder.feed(&mut std::slice::from_ref(byte));
            }
            let (body, _) = decoder.finish().unwrap();
            assert_eq!(body, format!("Received: y\r\n{expected}"), "{input:?}");
        }
    }

    #[test]
    fn smuggling_sequences_end_nothing() {
        let sequences: [&[u8]; 17] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r.\n",
            b"\n.\r",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\0\n",
            b"\r\0\n.\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n\n.\r\n",
            b"\r\n\n.\n\r\n",
            b"\r\n.\n\r\n",
        ];
        for sequence in sequences {
            let input = [b"a", sequence, b"MAIL FROM:<x@y>\r\n.\r\nrest"].concat();
            for size in 1..=input.len() {
                let (body, left) = decode(&input, &[size], 999, BareNewline::Reject).unwrap();
                assert_eq!(body, Err(reply::SMUGGLING), "{sequence:?}");
                assert_eq!(left, b"rest", "{sequence:?}");
                let (body, left) = decode(&input, &[size], 999, BareNewline::Normalize).unwrap();
                assert_eq!(body.is_err(), sequence.contains(&0), "{sequence:?}");
                assert_eq!(left, b"rest", "{sequence:?}");
            }
        }
    }

    #[test]
    fn a_message_that_fits_into_the_memory_beside_others_is_taken_although_twice_its_size_would_not() {
        let budget = Budget::new(1 << 20);
        let _other = budget.hold(64 << 10).unwrap();
        let held = budget.hold(0).unwrap();
        let mut decoder = Decoder::new(Vec::new(), held, 35 << 20, BareNewline::Reject, Ending::Dot);
        let chunk = vec![b'x'; 64 << 10];
        for _ in 0..14 {
            assert_eq!(decoder.feed(&mut chunk.as_slice()), Progress::More);
        }
        assert!(budget.used() <= 1 << 20);
        assert_eq!(decoder.feed(&mut b"\r\n.\r\n".as_slice()), Progress::End);
        assert_eq!(decoder.finish().unwrap().0.len(), (14 << 16) + 2);
    }

    #[test]
    fn a_message_without_room_is_read_to_its_end_and_gives_its_memory_back() {
        let budget = Budget::new(1 << 20);
        let other = budget.hold(512 << 10).unwrap();
        let before = budget.used();
        let mut decoder = Decoder::new(
            Vec::new(),
            budget.hold(0).unwrap(),
            35 << 20,
            BareNewline::Reject,
            Ending::Dot,
        );
        let chunk = vec![b'x'; 64 << 10];
        for _ in 0..20 {
            assert_eq!(decoder.feed(&mut chunk.as_slice()), Progress::More);
            assert!(decoder.body.capacity() as u64 <= 512 << 10);
        }
        assert_eq!(budget.used(), before);
        assert_eq!(decoder.feed(&mut b"\r\n.\r\n".as_slice()), Progress::End);
        assert_eq!(decoder.finish().unwrap_err(), reply::BUSY);
        drop(other);
        // Alone, it is taken whatever its size.
        let mut decoder = Decoder::new(
            Vec::new(),
            budget.hold(0).unwrap(),
            35 << 20,
            BareNewline::Reject,
            Ending::Dot,
        );
        for _ in 0..64 {
            assert_eq!(decoder.feed(&mut chunk.as_slice()), Progress::More);
        }
        assert_eq!(decoder.feed(&mut b"\r\n.\r\n".as_slice()), Progress::End);
        assert_eq!(decoder.finish().unwrap().0.len(), (64 << 16) + 2);
    }

    #[test]
    fn a_message_without_end_is_given_up() {
        let chunk = vec![b'x'; 1 << 20];
        let held = Budget::new(1 << 20).hold(0).unwrap();
        let mut decoder = Decoder::new(Vec::new(), held, 10, BareNewline::Reject, Ending::Dot);
        let rounds = (0..100).take_while(|_| decoder.feed(&mut chunk.as_slice()) == Progress::More);
        assert_eq!(rounds.count(), PATIENCE >> 20);
        assert_eq!(decoder.body.capacity(), 0);
    }

    proptest! {
        #[test]
        fn equals_the_naive_decoder(
            input in proptest::collection::vec(
                proptest::sample::select(vec!["\r\n", ".", "\r", "\n", "\0", "ab", "\r\n.\r\n", "\r\n.", "a long line"]), 0..24),
            sizes in proptest::collection::vec(1_usize..12, 1..6),
            limit in prop_oneof![0_usize..30, Just(999)],
            normalize in any::<bool>(),
        ) {
            let input = input.concat().into_bytes();
            let bare = if normalize { BareNewline::Normalize } else { BareNewline::Reject };
            prop_assert_eq!(decode(&input, &sizes, limit, bare), naive(&input, limit, bare));
        }

        #[test]
        fn clean_text_comes_back_as_it_was(lines in proptest::collection::vec("[.a-z ]{0,20}", 0..20),
                                           sizes in proptest::collection::vec(1_usize..64, 1..6)) {
            let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines.iter()
                .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
                .collect();
            let input = format!("{stuffed}.\r\nNOOP\r\n");
            let outcome = decode(input.as_bytes(), &sizes, 9999, BareNewline::Reject);
            prop_assert_eq!(outcome, Some((Ok(body.into_bytes()), b"NOOP\r\n".to_vec())));
        }
    }
}
