//! Bytes of one connection that were read and not passed on yet.
//!
//! actix-http would read on and decode request after request, whatever becomes of the answers. Here one head is passed on at
//! a time. This layer finds the end of a head, and interprets nothing else of it.

use actix_web::rt::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read ahead, and the most that are passed on of a head in one turn, so that other connections get theirs.
pub(super) const PIECE: usize = 4 * 1024;

/// See the module. An idle connection has no buffer.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    bytes: Vec<u8>,
    start: usize,
    /// Whether the last line that was passed on is empty so far.
    blank: bool,
}

impl ReadAhead {
    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Reads the next bytes from `io`, unless some are left; `false` at the end of the stream.
    pub(super) fn poll_fill(&mut self, io: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.unread().is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.bytes.resize(PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.bytes);
        let read = Pin::new(io).poll_read(cx, &mut piece);
        let count = piece.filled().len();
        self.bytes.truncate(count);
        self.start = 0;
        if count == 0 {
            self.bytes = Vec::new();
        }
        ready!(read)?;
        Poll::Ready(Ok(count > 0))
    }

    /// Passes on what is left; returns the number of bytes.
    pub(super) fn pass_all(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        self.pass(usize::MAX, buf)
    }

    /// Passes on bytes up to the end of the head; returns their number.
    pub(super) fn pass_head(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let unread = self.bytes.get(self.start..).unwrap_or_default();
        let fits = unread.get(..buf.remaining()).unwrap_or(unread);
        // Up to the empty line. A line may end without CR.
        let mut blank = self.blank;
        let end = fits.iter().position(|byte| {
            let is_end = *byte == b'\n' && blank;
            blank = *byte == b'\n' || *byte == b'\r' && blank;
            is_end
        });
        self.blank = end.is_none() && blank;
        self.pass(end.map_or(fits.len(), |end| end + 1), buf)
    }

    fn pass(&mut self, most: usize, buf: &mut ReadBuf<'_>) -> usize {
        let unread = self.unread();
        let part = unread.get(..most.min(buf.remaining())).unwrap_or(unread);
        buf.put_slice(part);
        let count = part.len();
        self.start += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of `text`, a head at a time, into so much room.
    fn heads(text: &str, room: usize) -> Vec<String> {
        let mut ahead = ReadAhead {
            bytes: text.into(),
            ..ReadAhead::default()
        };
        let mut heads = vec![];
        while !ahead.unread().is_empty() {
            let mut bytes = vec![0; room];
            let mut buf = ReadBuf::new(&mut bytes);
            ahead.pass_head(&mut buf);
            heads.push(String::from_utf8(buf.filled().to_vec()).unwrap());
        }
        heads
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (text, expected) in [
            (
                "GET / HTTP/1.1\r\nA: b\r\n\r\nGET /2",
                vec!["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET /2"],
            ),
            ("GET /\n\nGET /2\n\r\nx", vec!["GET /\n\n", "GET /2\n\r\n", "x"]),
            ("a\r\nb\r\r\nc\n\r", vec!["a\r\nb\r\r\nc\n\r"]),
            ("\r\n\r\nGET /\r\n\r\n", vec!["\r\n\r\n", "GET /\r\n\r\n"]),
        ] {
            assert_eq!(heads(text, 100), expected, "{text:?}");
            let pieces = heads(text, 1);
            assert_eq!(pieces.concat(), text);
            // Wherever a piece ends, the head ends where it did.
            let ends = |heads: &[String]| {
                let mut passed = 0;
                let all = heads.iter().map(|head| {
                    passed += head.len();
                    passed
                });
                all.collect::<Vec<_>>()
            };
            let found = ends(&heads(text, 3));
            assert!(
                ends(&heads(text, 100)).iter().all(|end| found.contains(end)),
                "{text:?}"
            );
        }
    }
}
