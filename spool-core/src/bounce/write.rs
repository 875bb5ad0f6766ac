//! Text in a notice: printable ASCII in folded lines, whatever a peer or an envelope contains.
//!
//! Text that passes through here cannot end a line, start a field, or be a line of its own.

use crate::reply::MAX_TEXT;
use std::fmt::Write;

/// Lines are folded at spaces before they are longer.
const WIDTH: usize = 77;
/// The longest word: a line of it and the name of a field is well within the 998 octets of RFC 5322 section 2.1.1.
const MAX_WORD: usize = 800;

/// `text` in printable ASCII, at most `most` bytes of it: every other character as `\x{HEX}`.
pub(super) fn ascii(text: &str, most: usize) -> String {
    escaped(text, most, |c| matches!(c, ' '..='~'))
}

/// An address of the type utf-8 as utf-8-addr-xtext (RFC 6533 section 3), one [`word`]: blanks, `+`, `=` and `\` are escaped too.
pub(super) fn utf8_address(text: &str) -> String {
    escaped(text, MAX_WORD, is_qchar)
}

/// As [`utf8_address`], for an address that the sender gave in one of the forms of RFC 6533: its `\x{HEX}` stay.
pub(super) fn given_utf8_address(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_WORD));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = embedded(rest).unwrap_or(c.len_utf8());
        let (one, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = left;
        let one = match length > c.len_utf8() {
            true => one.to_owned(),
            false => utf8_address(one),
        };
        if out.len() + one.len() > MAX_WORD {
            break;
        }
        out.push_str(&one);
    }
    out
}

/// QCHAR of RFC 6533 section 3.
const fn is_qchar(c: char) -> bool {
    matches!(c, '!'..='~') && !matches!(c, '+' | '=' | '\\')
}

/// The length of the EmbeddedUnicodeChar that `text` begins with, if it does.
fn embedded(text: &str) -> Option<usize> {
    let (digits, _) = text.strip_prefix("\\x{")?.split_once('}')?;
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let fits = (2..=6).contains(&digits.len()) && digits.bytes().all(plain);
    fits.then_some(digits.len() + 4)
}

/// `text`, at most `most` bytes of it, every character but those that are `plain` as `\x{HEX}`.
fn escaped(text: &str, most: usize, plain: impl Fn(char) -> bool) -> String {
    crate::text::escaped(text, most, |out, c| {
        if plain(c) {
            out.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{{{:02X}}}", u32::from(c));
        }
    })
}

/// The text of a peer: one line, truncated at [`MAX_TEXT`].
pub(super) fn words(text: &str) -> String {
    ascii(text, MAX_TEXT)
}

/// An address or an identifier: one word, whatever spaces it contains. To be written with [`Lines::word_field`] or
/// [`Lines::words_field`], which keep them.
pub(super) fn word(text: &str) -> String {
    ascii(text, MAX_WORD)
}

/// A message that is being written, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// A line as it is: it holds printable ASCII only.
    pub(super) fn line(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    /// A header field, or a field of a delivery status, folded at blanks. Runs of blanks become one.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        self.wrapped(&format!("{name}:"), " ", split(value));
    }

    /// A field of one [`word`] behind `before`, as it is given: not folded, so that no line holds blanks alone.
    pub(super) fn word_field(&mut self, name: &str, before: &str, word: &str) {
        self.line(&format!("{name}: {before}{word}"));
    }

    /// A field of addresses, each a [`word`] as it is given, with commas between them; folded behind these.
    pub(super) fn words_field(&mut self, name: &str, words: &[String]) {
        let last = words.len().saturating_sub(1);
        let words = words.iter().enumerate().map(|(nth, word)| match nth == last {
            true => word.clone(),
            false => format!("{word},"),
        });
        self.wrapped(&format!("{name}:"), " ", words);
    }

    /// A paragraph, wrapped, each of its lines behind `indent`.
    pub(super) fn paragraph(&mut self, indent: &str, text: &str) {
        self.wrapped("", indent, split(text));
    }

    /// `first`, then the words; lines after the first begin with `indent`.
    fn wrapped(&mut self, first: &str, indent: &str, words: impl Iterator<Item = impl AsRef<str>>) {
        let mut line = first.to_owned();
        let mut fresh = first.is_empty();
        for word in words {
            let word = word.as_ref();
            if !fresh && line.len() + 1 + word.len() > WIDTH && line != first {
                self.line(&line);
                line.clear();
                fresh = true;
            }
            line.push_str(if fresh { indent } else { " " });
            line.push_str(word);
            fresh = false;
        }
        self.line(&line);
    }

    /// Complete lines that end with CRLF, or nothing, unchanged.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The words of a text.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(value: &str) -> String {
        let mut lines = Lines::default();
        lines.field("Diagnostic-Code", value);
        String::from_utf8(lines.into_bytes()).unwrap()
    }

    #[test]
    fn long_fields_are_folded_at_blanks_and_long_words_are_not() {
        assert_eq!(field("smtp; 550 no"), "Diagnostic-Code: smtp; 550 no\r\n");
        let folded = field(&"0123456789 ".repeat(20));
        assert!(folded.lines().all(|line| line.len() <= WIDTH), "{folded}");
        assert_eq!(folded.lines().count(), 4);
        assert!(folded.lines().skip(1).all(|line| line.starts_with(" 0")));
        let word = "x".repeat(300);
        assert_eq!(
            field(&format!("a {word} b")),
            format!("Diagnostic-Code: a\r\n {word}\r\n b\r\n")
        );
        assert_eq!(field(&word), format!("Diagnostic-Code: {word}\r\n"));
    }

    #[test]
    fn a_word_keeps_its_blanks_and_is_not_folded() {
        let mut lines = Lines::default();
        lines.word_field("Original-Envelope-Id", "", " a   b ");
        lines.word_field("Final-Recipient", "rfc822; ", &"\"a  b\"@x".repeat(10));
        let addresses = vec!["\"a  b\"@example.net".to_owned(); 5];
        lines.words_field("X-Failed-Recipients", &addresses);
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        let (one, rest) = text.split_once("\r\n").unwrap();
        assert_eq!(one, "Original-Envelope-Id:  a   b ");
        let (two, rest) = rest.split_once("\r\n").unwrap();
        assert_eq!(
            two,
            format!("Final-Recipient: rfc822; {}", "\"a  b\"@x".repeat(10))
        );
        assert_eq!(
            rest.replace("\r\n ", " "),
            format!("X-Failed-Recipients: {}\r\n", addresses.join(", "))
        );
        assert!(
            rest.lines().count() == 2 && rest.lines().all(|line| line.len() <= WIDTH),
            "{rest}"
        );
    }

    #[test]
    fn other_characters_are_escaped() {
        assert_eq!(ascii("ü\r\n\u{1f600}", 100), "\\x{FC}\\x{0D}\\x{0A}\\x{1F600}");
        assert_eq!(ascii("aü", 6), "a");
    }

    #[test]
    fn utf_8_addresses_are_escaped_as_rfc_6533_has_it() {
        assert_eq!(
            utf8_address("ü+a=b\\ c@x"),
            "\\x{FC}\\x{2B}a\\x{3D}b\\x{5C}\\x{20}c@x"
        );
        for (given, expected) in [
            ("\\x{FC}+a@x", "\\x{FC}\\x{2B}a@x"),
            ("\\x{1F600}@x", "\\x{1F600}@x"),
            ("\\x{}\\x{g}\\x", "\\x{5C}x{}\\x{5C}x{g}\\x{5C}x"),
            ("ü=@x", "\\x{FC}\\x{3D}@x"),
        ] {
            assert_eq!(given_utf8_address(given), expected);
        }
        assert_eq!(given_utf8_address(&"\\x{FC}".repeat(1000)).len(), 798);
    }

    proptest! {
        #[test]
        fn a_utf_8_address_can_be_read_back(address in any::<String>()) {
            let written = utf8_address(&address);
            prop_assert!(written.len() <= MAX_WORD);
            prop_assert_eq!(&given_utf8_address(&written), &written);
            let (mut read, mut rest) = (String::new(), written.as_str());
            while let Some(c) = rest.chars().next() {
                let length = embedded(rest).unwrap_or(1);
                prop_assert_eq!(length == 1, is_qchar(c));
                match length {
                    1 => read.push(c),
                    _ => read.extend(u32::from_str_radix(&rest[3..length - 1], 16).ok().and_then(char::from_u32)),
                }
                rest = &rest[length..];
            }
            prop_assert!(address.starts_with(&read));
        }

        #[test]
        fn no_text_ends_a_line(text in any::<String>()) {
            let words = words(&text);
            prop_assert!(words.len() <= MAX_TEXT && words.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            for line in field(&words).strip_suffix("\r\n").unwrap().split("\r\n").skip(1) {
                prop_assert!(line.starts_with(' ') && line.trim() != "", "{:?}", line);
            }
        }
    }
}
