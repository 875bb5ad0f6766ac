//! Writes a header field that is folded between its words.

/// Longer lines are folded.
const WIDTH: usize = 76;

/// A field at the end of some bytes.
pub(crate) struct Folded<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    column: usize,
    /// Whether a word was written. The first one stays on the line of the field name, because a line of white space alone would not be a
    /// header.
    has_word: bool,
}

impl<'o> Folded<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(name.as_bytes());
        Self {
            out,
            column: name.len(),
            has_word: false,
        }
    }

    /// Bytes that fit into this line, or into the next one when it is full.
    pub(crate) const fn room(&self) -> usize {
        match WIDTH.saturating_sub(self.column) {
            0 => WIDTH - 8,
            room => room,
        }
    }

    /// Appends a word of these parts: after a space, or on a new line.
    pub(crate) fn word(&mut self, parts: &[&str]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.has_word && self.column + 1 + length > WIDTH {
            self.line();
        } else {
            self.append(" ");
        }
        self.has_word = true;
        parts.iter().for_each(|part| self.append(part));
    }

    /// Appends a part of the previous word: directly after it, or on a new line.
    pub(crate) fn piece(&mut self, piece: &str) {
        if self.column + piece.len() > WIDTH {
            self.line();
        }
        self.append(piece);
    }

    fn append(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
    }

    fn line(&mut self) {
        self.out.extend_from_slice(b"\r\n\t");
        // As people see a tab.
        self.column = 8;
    }
}
