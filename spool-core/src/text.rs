//! Text from outside, made safe to display: characters that are invisible, or that reorder text, are written as
//! escapes.
//!
//! It changes how text is displayed, never what is stored or sent.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether `c` must not reach a terminal or a log as it is: controls (C0, DEL, C1), line and paragraph separators,
/// bidirectional controls, all other format characters (Unicode category Cf), and characters without a visible form (zero width,
/// variation selectors, tags, the blank Braille pattern).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether `text` consists of printable ASCII characters only: none of them is hidden. Much faster than asking
/// [`is_hidden`] for each character; the branch-free loop is vectorized.
#[must_use]
pub fn is_printable_ascii(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |all, byte| all & matches!(byte, b' '..=b'~'))
}

/// `text` with each hidden character as a JSON escape: `\n`, `\r`, `\t`, `\u202e`, and two of them for one beyond
/// U+FFFF. JSON text keeps its meaning. Not copied when nothing is hidden.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if is_printable_ascii(text.as_bytes()) || !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_visible(&mut out, c));
    Cow::Owned(out)
}

/// The characters of `text` as `push` writes them: as many as fit in `most` bytes.
pub(crate) fn escaped(text: &str, most: usize, push: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let before = out.len();
        push(&mut out, c);
        if out.len() > most {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Appends `c`, as an escape when it is hidden.
pub(crate) fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind that terminals hide or obey.
    const HIDDEN: &str = "\0\u{7}\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{200b}\u{200f}\u{2028}\u{202e}\u{2060}\u{2066}\u{206f}\u{feff}\u{fe0f}\u{600}\u{605}\u{6dd}\u{70f}\u{8e2}\u{2800}";

    #[test]
    fn hidden_characters_are_escaped_and_others_kept() {
        for c in HIDDEN.chars() {
            let text = format!("a{c}b");
            assert_eq!(visible(&text), format!("a\\u{:04x}b", u32::from(c)));
        }
        assert_eq!(visible("a\r\n\tb\u{e0041}"), "a\\r\\n\\tb\\udb40\\udc41");
        for beyond in ['\u{110bd}', '\u{13430}', '\u{1bca0}', '\u{1d173}', '\u{1d17a}'] {
            assert!(is_hidden(beyond), "{beyond:?}");
        }
        for kept in ["", "plain", "Grüße, 世界 \u{1f600} é", "back\\slash"] {
            assert!(matches!(visible(kept), Cow::Borrowed(text) if text == kept));
        }
    }

    #[test]
    fn every_printable_ascii_character_is_shown_as_it_is() {
        for byte in 0..=u8::MAX {
            let shown = byte.is_ascii() && !is_hidden(char::from(byte));
            assert_eq!(is_printable_ascii(&[b'a', byte, b'z']), shown, "{byte:#x}");
        }
    }

    #[test]
    fn escaped_json_says_the_same() {
        let value = serde_json::json!({ "text": format!("{HIDDEN}\r\n\t\u{e0041} é \"\\"), "list": [1, "\u{e007f}"] });
        let text = value.to_string();
        let shown = visible(&text);
        assert!(!shown.chars().any(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
