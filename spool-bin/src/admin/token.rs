//! The token of the admin API: read from a file, compared in constant time, never printed.

use crate::files;
use derive_more::Debug;
use std::path::Path;

/// The least length; shorter tokens could be guessed.
const LEAST: usize = 16;

/// Bytes of the file.
const MAX_FILE: u64 = 64 * 1024;

/// The token that every request must have.
#[derive(Clone, Debug)]
#[debug("Token")]
pub(crate) struct Token(String);

impl Token {
    /// The first line of `path`.
    ///
    /// # Errors
    /// The path, and what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        files::parse_text(path, MAX_FILE, |text| {
            let line = text.lines().next().unwrap_or_default().trim();
            match line.len() >= LEAST && line.bytes().all(|byte| byte.is_ascii_graphic()) {
                true => Ok(Self(line.to_owned())),
                false => Err(
                    "its first line must hold at least 16 visible characters; make one with `openssl rand -hex 32`",
                ),
            }
        })
    }

    /// The header: `Bearer ...`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header has it. The time does not depend on which bytes are wrong.
    pub(super) fn is_in(&self, header: Option<&str>) -> bool {
        let given = header.and_then(|header| {
            let (scheme, token) = header.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let given = given.unwrap_or_default().as_bytes();
        let known = self.0.as_bytes();
        let wrong = known.iter().enumerate().fold(0, |wrong, (at, byte)| {
            wrong | (byte ^ given.get(at).copied().unwrap_or(0))
        });
        wrong == 0 && given.len() == known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "0123456789abcdef \nsecond line\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is_in(Some("Bearer 0123456789abcdef")) && token.is_in(Some(&token.header())));
        for wrong in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("0123456789abcdef"),
            Some("Basic 0123456789abcdef"),
            Some("Bearer 0123456789abcde"),
            Some("Bearer 0123456789abcdef0"),
            Some("Bearer 0123456789abcdeF"),
        ] {
            assert!(!token.is_in(wrong), "{wrong:?}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        for short in ["", "short\n", "with a blank in it, and long\n"] {
            std::fs::write(&path, short).unwrap();
            assert!(Token::read(&path).is_err(), "{short:?}");
        }
    }
}
