//! A peer's reply as it is recorded: three digits, an enhanced code if there is one, and one line of printable text.
//!
//! The text has no control character and at most [`MAX_TEXT`] bytes, since it goes into logs and files.

use crate::text::{escaped, is_printable_ascii, push_visible};
use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most bytes of a peer's text that are kept.
pub const MAX_TEXT: usize = 512;

/// An enhanced status code, RFC 3463: class, subject, detail.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[display("{_0}.{_1}.{_2}")]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl EnhancedCode {
    /// Reads `x.y.z` at the start of `text`; gives it and what follows.
    #[must_use]
    pub fn strip(text: &str) -> Option<(Self, &str)> {
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let (code, rest) = text.split_at(end);
        let mut parts = code.split('.');
        let class = parts
            .next()?
            .parse()
            .ok()
            .filter(|class| matches!(class, 2 | 4 | 5))?;
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        parts
            .next()
            .is_none()
            .then(|| (Self(class, subject, detail), rest.trim_start()))
    }
}

fn number(digits: &str) -> Option<u16> {
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// A reply of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code, when the text began with one.
    pub enhanced: Option<EnhancedCode>,
    /// The rest of the text: one line, printable, at most [`MAX_TEXT`] bytes.
    pub text: String,
}

impl Reply {
    /// A reply from its code and raw text (lines joined by the caller with a space). The text is made harmless.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let (enhanced, text) = match EnhancedCode::strip(text) {
            Some((enhanced, rest)) => (Some(enhanced), rest),
            None => (None, text),
        };
        Self {
            code,
            enhanced,
            text: harmless(text),
        }
    }

    /// 5xx.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500 && self.code < 600
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if self.text.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.text)
        }
    }
}

/// One printable line of at most [`MAX_TEXT`] bytes: hidden characters are escaped, as [`visible`](crate::visible)
/// does.
#[must_use]
pub fn harmless(text: &str) -> String {
    if text.len() <= MAX_TEXT && is_printable_ascii(text.as_bytes()) {
        return text.to_owned();
    }
    escaped(text, MAX_TEXT, push_visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_apart() {
        let reply = Reply::new(550, "5.1.1 no such user");
        assert_eq!(reply.enhanced, Some(EnhancedCode(5, 1, 1)));
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
        assert_eq!(Reply::new(250, "").to_string(), "250");
        assert_eq!(Reply::new(250, "1.2.3.4 is you").enhanced, None);
        assert_eq!(Reply::new(250, "2.0.0").enhanced, Some(EnhancedCode(2, 0, 0)));
    }

    #[test]
    fn hostile_text_becomes_one_short_harmless_line() {
        let reply = Reply::new(550, &format!("a\r\nb\u{1b}[31m\u{202e}{}", "x".repeat(2000)));
        assert!(reply.text.starts_with(r"a\r\nb\u001b[31m\u202ex"));
        assert!(reply.text.len() <= MAX_TEXT);
    }
}
