//! Splits the command stream into lines. Only CRLF ends a line; the line limit bounds the memory.
//!
//! A CR without LF, an LF without CR and a NUL are reported at their position: SMTP smuggling needs two programs that disagree
//! about the end of a line, and a client that ends lines with LF alone would wait for a reply for ever.

use crate::hidden::Hidden;
use memchr::memchr3;

/// The next part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A line with its CRLF, without another CR, LF or NUL.
    Line(&'a [u8]),
    /// A line longer than the limit, skipped to its end.
    TooLong,
    /// A bare CR, a bare LF or a NUL. The rest cannot be trusted.
    Unclean,
}

/// The framer, with the partial line of earlier input.
#[derive(Debug)]
pub(super) struct Framer {
    /// A password may be in it.
    partial: Hidden<Vec<u8>>,
    limit: usize,
    /// `partial` was returned as a complete line.
    given: bool,
    /// The line is too long: its bytes are dropped.
    skipping: bool,
    /// The last byte was CR.
    cr: bool,
}

impl Framer {
    /// Lines of more than `limit` bytes, CRLF included, are too long.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            partial: Hidden(Vec::new()),
            limit,
            given: false,
            skipping: false,
            cr: false,
        }
    }

    /// Takes the next line from `input`; takes all of it and returns `None` when it contains no end of a line.
    pub(super) fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Frame<'s>> {
        if std::mem::take(&mut self.given) {
            self.partial.0.clear();
        }
        loop {
            if self.cr {
                let (&byte, rest) = input.split_first()?;
                if byte != b'\n' {
                    return Some(Frame::Unclean);
                }
                *input = rest;
                self.cr = false;
                self.keep(b"\n");
                return Some(self.finish());
            }
            let Some(at) = memchr3(b'\r', b'\n', 0, input) else {
                self.keep(input);
                *input = &[];
                return None;
            };
            if input.get(at) != Some(&b'\r') {
                return Some(Frame::Unclean);
            }
            let whole = self.partial.0.is_empty() && !self.skipping && at + 2 <= self.limit;
            if whole && input.get(at + 1) == Some(&b'\n') {
                let (line, rest) = input.split_at_checked(at + 2)?;
                *input = rest;
                return Some(Frame::Line(line));
            }
            let (head, rest) = input.split_at_checked(at + 1)?;
            self.keep(head);
            *input = rest;
            self.cr = true;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.skipping |= self.partial.0.len() + bytes.len() > self.limit;
        if self.skipping {
            self.partial.0 = Vec::new();
        } else {
            self.partial.0.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self) -> Frame<'_> {
        if std::mem::take(&mut self.skipping) {
            return Frame::TooLong;
        }
        self.given = true;
        Frame::Line(&self.partial.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Owned {
        Line(Vec<u8>),
        TooLong,
        Unclean,
    }

    fn frames<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut framer = Framer::new(limit);
        let mut out = Vec::new();
        for mut chunk in chunks {
            loop {
                out.push(match framer.next(&mut chunk) {
                    None => break,
                    Some(Frame::Line(line)) => Owned::Line(line.to_vec()),
                    Some(Frame::TooLong) => Owned::TooLong,
                    Some(Frame::Unclean) => {
                        out.push(Owned::Unclean);
                        return out;
                    }
                });
                assert!(framer.partial.0.capacity() <= 2 * limit.max(8));
            }
        }
        out
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let line = |text: &str| Owned::Line(text.as_bytes().to_vec());
        for (input, expected) in [
            ("a\r\nb\r\n", vec![line("a\r\n"), line("b\r\n")]),
            ("\r\n", vec![line("\r\n")]),
            ("a", vec![]),
            ("a\r", vec![]),
            ("a\nb\r\n", vec![Owned::Unclean]),
            ("a\rb\r\n", vec![Owned::Unclean]),
            ("a\r\r\n", vec![Owned::Unclean]),
            ("a\0b\r\n", vec![Owned::Unclean]),
            ("a\r\n\n", vec![line("a\r\n"), Owned::Unclean]),
            ("12345678\r\n", vec![line("12345678\r\n")]),
            ("123456789\r\nx\r\n", vec![Owned::TooLong, line("x\r\n")]),
            ("123456789012345678\0\r\n", vec![Owned::Unclean]),
        ] {
            assert_eq!(frames(10, [input.as_bytes()]), expected, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn chunk_borders_make_no_difference(
            bytes in proptest::collection::vec(prop_oneof![8 => Just(b'a'), 2 => Just(b'\r'), 3 => Just(b'\n')], 0..60),
            lines in "[ab]{0,14}(\r\n[ab]{0,14}){0,4}",
            size in 1_usize..9,
        ) {
            let input = [lines.as_bytes(), b"\r\n", &bytes].concat();
            prop_assert_eq!(frames(10, input.chunks(size)), frames(10, [input.as_slice()]));
        }
    }
}
