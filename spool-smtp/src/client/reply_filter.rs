//! Parses a peer's replies. Pure, and bounded whatever the peer sends.
//!
//! It accepts errors that leave the meaning clear (a code without text, a line that ends with LF, a line or reply that is too long, text
//! that is not UTF-8), and refuses others (a line without a code, two codes in one reply, lines or replies without end).

use spool_core::{EnhancedCode, Reply};
use thiserror::Error;

/// The most bytes of one reply, line ends included. RFC 5321 section 4.5.3.1.5 allows 512 for a line, but some peers send much more.
/// [`Reply`] keeps only the first part of the text.
const MAX_REPLY: usize = 64 * 1024;
/// The most lines of one reply.
const MAX_LINES: usize = 1000;

/// Why input is not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ReplyError {
    #[error("the peer sent a reply of more than {MAX_REPLY} bytes")]
    TooLong,
    #[error("the peer sent a reply of more than {MAX_LINES} lines")]
    TooManyLines,
    #[error("the peer sent a line that is no SMTP reply")]
    NoReply,
    #[error("the peer sent different codes in one reply")]
    MixedCodes,
}

/// A complete reply: its code, and the text of each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawReply {
    pub(crate) code: u16,
    /// The lines, separated by LF.
    text: String,
}

impl RawReply {
    /// The text of each line; at least one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// The reply for the record: one line, in which a repeated enhanced code is kept once.
    pub(super) fn to_reply(&self) -> Reply {
        let Some((head, others)) = self.text.split_once('\n') else {
            return Reply::new(self.code, &self.text);
        };
        let mut text = head.to_owned();
        let first = EnhancedCode::strip(head).map(|(code, _)| code);
        for line in others.split('\n') {
            let rest = match EnhancedCode::strip(line) {
                Some((code, rest)) if Some(code) == first => rest,
                Some(_) | None => line,
            };
            text.push(' ');
            text.push_str(rest);
        }
        Reply::new(self.code, &text)
    }

    pub(super) const fn is(&self, class: u16) -> bool {
        self.code / 100 == class
    }
}

/// The state of the parser: the part of a reply that has arrived.
#[derive(Debug, Default)]
pub(crate) struct ReplyFilter {
    /// An incomplete line.
    line: Vec<u8>,
    /// The number of bytes of the complete lines.
    size: usize,
    code: Option<u16>,
    /// The text and the number of the complete lines.
    text: String,
    lines: usize,
}

impl ReplyFilter {
    /// Parses up to the end of one reply. Returns the number of bytes that were used, and the reply if it is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<RawReply>), ReplyError> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if self.size + self.line.len() + part.len() > MAX_REPLY {
                return Err(ReplyError::TooLong);
            }
            taken += part.len();
            let reply = if end.is_none() {
                self.line.extend_from_slice(part);
                None
            } else if self.line.is_empty() {
                self.line_ended(part)?
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.line_ended(&line)?
            };
            if reply.is_some() {
                return Ok((taken, reply));
            }
        }
        Ok((taken, None))
    }

    /// Whether a reply has begun.
    pub(super) fn is_midway(&self) -> bool {
        !self.line.is_empty() || self.code.is_some()
    }

    fn line_ended(&mut self, line: &[u8]) -> Result<Option<RawReply>, ReplyError> {
        self.size += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::NoReply)?;
        let code = parse_code(code).ok_or(ReplyError::NoReply)?;
        if self.code.is_some_and(|known| known != code) {
            return Err(ReplyError::MixedCodes);
        }
        let (more, text) = match rest.split_first() {
            None => (false, rest),
            Some((b' ', text)) => (false, text),
            Some((b'-', text)) => (true, text),
            Some(_) => return Err(ReplyError::NoReply),
        };
        if self.lines == MAX_LINES {
            return Err(ReplyError::TooManyLines);
        }
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.text.push_str(&String::from_utf8_lossy(text));
        self.lines += 1;
        self.code = Some(code);
        if more {
            return Ok(None);
        }
        let text = std::mem::take(self).text;
        Ok(Some(RawReply { code, text }))
    }
}

fn parse_code(digits: &[u8]) -> Option<u16> {
    let valid = matches!(digits, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']);
    std::str::from_utf8(digits).ok().filter(|_| valid)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<RawReply>, ReplyError> {
        let mut filter = ReplyFilter::default();
        let mut replies = Vec::new();
        for mut chunk in bytes.chunks(step) {
            while !chunk.is_empty() {
                let (taken, reply) = filter.feed(chunk)?;
                replies.extend(reply);
                chunk = &chunk[taken..];
            }
        }
        Ok(replies)
    }

    fn one(bytes: &[u8]) -> Reply {
        let replies = all(bytes, 7).unwrap();
        assert_eq!(replies.len(), 1);
        replies[0].to_reply()
    }

    #[test]
    fn what_is_clear_is_taken() {
        assert_eq!(one(b"250\r\n").to_string(), "250");
        assert_eq!(one(b"250 OK\n").to_string(), "250 OK");
        assert_eq!(one(b"550 5.1.1 \xff\xfe gone\r\n").code, 550);
        assert_eq!(
            one(b"550-5.7.1 not\r\n550-5.7.1 you\r\n550 5.7.1 again\r\n").to_string(),
            "550 5.7.1 not you again"
        );
        assert_eq!(all(b"250 a\n550 b\r\n250-\r\n250\r\n", 3).unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for (bytes, error) in [
            (&b"hello\r\n"[..], ReplyError::NoReply),
            (b"\r\n", ReplyError::NoReply),
            (b"2x0 a\r\n", ReplyError::NoReply),
            (b"650 a\r\n", ReplyError::NoReply),
            (b"250a\r\n", ReplyError::NoReply),
            (b"250-a\r\n550 b\r\n", ReplyError::MixedCodes),
        ] {
            assert_eq!(all(bytes, 5), Err(error), "{bytes:?}");
        }
        assert_eq!(all(&vec![b'2'; 100_000], 1000), Err(ReplyError::TooLong));
        assert_eq!(
            all(&b"250-x\r\n".repeat(1001), 1000),
            Err(ReplyError::TooManyLines)
        );
    }

    #[test]
    fn a_long_reply_is_read_by_its_code() {
        let line = |length: usize| format!("550 5.1.1 {}\r\n", "x".repeat(length - 12));
        for length in [4096, 10_000, MAX_REPLY] {
            let reply = one(line(length).as_bytes());
            assert_eq!((reply.code, reply.enhanced), (550, Some(EnhancedCode(5, 1, 1))));
            assert_eq!(reply.text, "x".repeat(reply.text.len().max(500)), "{length}");
        }
        assert_eq!(
            all(line(MAX_REPLY + 1).as_bytes(), 1000),
            Err(ReplyError::TooLong)
        );
        let lines =
            |count: usize, text: &str| format!("{}550 end\r\n", format!("550-{text}\r\n").repeat(count - 1));
        let many = one(lines(1000, "no").as_bytes());
        assert!(many.code == 550 && many.text.starts_with("no no no"), "{many}");
        assert_eq!(
            all(lines(1001, "no").as_bytes(), 1000),
            Err(ReplyError::TooManyLines)
        );
        // All lines together.
        let long = "x".repeat(100);
        assert_eq!(one(lines(600, &long).as_bytes()).code, 550);
        assert_eq!(all(lines(700, &long).as_bytes(), 1000), Err(ReplyError::TooLong));
        // Each reply counts by itself.
        assert_eq!(
            all(lines(600, &long).repeat(3).as_bytes(), 1000).unwrap().len(),
            3
        );
    }

    proptest::proptest! {
        #[test]
        fn chunks_make_no_difference_and_nothing_panics(bytes in "([245][0-9]{2}[ -]?[a-z\u{e9}]{0,5}\r?\n|[a-z0-9\r\n]{0,4}){0,6}", step in 1_usize..20) {
            let whole = all(bytes.as_bytes(), usize::MAX);
            proptest::prop_assert_eq!(all(bytes.as_bytes(), step), whole);
        }
    }
}
