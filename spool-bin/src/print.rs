//! All output to standard output and standard error, with hidden characters shown as escapes, whether they come from a peer, a
//! client or the command line.
//!
//! Line ends are not escaped. Only the text of a message, printed byte for byte, does not pass here.

use memchr::memrchr;
use serde::Serialize;
use spool_core::visible;
use std::io::{self, Write};

/// A writer that escapes hidden characters except line ends, and replaces bytes that are not UTF-8. It passes on whole lines, so
/// that no character is divided.
#[derive(Debug)]
pub(crate) struct Visible<W> {
    out: W,
    /// The begin of a line.
    line: Vec<u8>,
}

impl<W: Write> Visible<W> {
    pub(crate) const fn new(out: W) -> Self {
        let line = Vec::new();
        Self { out, line }
    }

    #[cfg(test)]
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Sets a colour by a control sequence, which is not escaped.
    pub(crate) fn colour(&mut self, sequence: &str) -> io::Result<()> {
        self.pass_on()?;
        self.out.write_all(sequence.as_bytes())
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let lines = visible_lines(&String::from_utf8_lossy(&self.line));
        self.line.clear();
        self.out.write_all(lines.as_bytes())
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let whole = memrchr(b'\n', bytes).map_or(0, |end| end + 1);
        let (whole, begun) = bytes.split_at(whole);
        if !whole.is_empty() {
            self.line.extend_from_slice(whole);
            self.pass_on()?;
        }
        self.line.extend_from_slice(begun);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

/// Writes a line of JSON.
pub(crate) fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// `text` with hidden characters except line ends escaped.
pub(crate) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Prints lines on standard error by one write.
pub(crate) fn tell(text: &str) {
    let text = visible_lines(text) + "\n";
    // An error of standard error cannot be reported.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints an error on standard error, after the name of the program.
pub(crate) fn print_error(text: &str) {
    tell(&format!("spool: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pieces: &[&[u8]]) -> String {
        let mut out = Visible::new(Vec::new());
        for piece in pieces {
            out.write_all(piece).unwrap();
        }
        out.flush().unwrap();
        String::from_utf8(out.out).unwrap()
    }

    #[test]
    fn hidden_characters_are_escaped_across_writes() {
        let text = "a\u{1b}[31m\u{202e}é\u{e0041}\r\nb\n";
        let shown = "a\\u001b[31m\\u202eé\\udb40\\udc41\\r\nb\n";
        assert_eq!(printed(&[text.as_bytes()]), shown);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(printed(&bytes), shown);
        assert_eq!(printed(&[b"a\xff\x9bb\xc3", b"("]), "a\u{fffd}\u{fffd}b\u{fffd}(");
        assert_eq!(visible_lines(text), shown);
    }

    #[test]
    fn own_colours_are_not_escaped() {
        let mut out = Visible::new(Vec::new());
        out.colour("\u{1b}[31m").unwrap();
        out.write_all("\u{1b}[31m".as_bytes()).unwrap();
        out.flush().unwrap();
        assert_eq!(out.out, b"\x1b[31m\\u001b[31m");
    }
}
