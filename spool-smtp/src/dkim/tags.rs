//! Tag lists, `v=1; a=rsa-sha256`, of which signatures and key records consist (RFC 6376 section 3.2).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The most tags in a list.
const MAX_TAGS: usize = 32;

/// Padding may be missing, as some key records have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The tags of a list with their values, without white space around them.
#[derive(Debug)]
pub(super) struct Tags<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Tags<'t> {
    /// `None`: `text` is not a tag list, or names a tag twice.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for tag in text.split(';') {
            let tag = tag.trim_ascii();
            if tag.is_empty() {
                continue;
            }
            let (name, value) = tag.split_once('=')?;
            let name = name.trim_ascii_end();
            let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !named || tags.len() == MAX_TAGS || tags.iter().any(|(other, _)| *other == name) {
                return None;
            }
            tags.push((name, value.trim_ascii()));
        }
        Some(Self(tags))
    }

    /// The value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&'t str> {
        self.0
            .iter()
            .find_map(|(tag, value)| (*tag == name).then_some(*value))
    }

    /// The name of the first tag.
    pub(super) fn first(&self) -> Option<&'t str> {
        self.0.first().map(|(name, _)| *name)
    }
}

/// The bytes of a base64 text in which white space may stand anywhere.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_white_space_anywhere() {
        let tags = Tags::parse("v=1;\r\n\ta = rsa-sha256 ;b=QU\r\n JD; empty=; t=y:s;").unwrap();
        assert_eq!(tags.first(), Some("v"));
        assert_eq!(tags.get("a"), Some("rsa-sha256"));
        assert_eq!(base64(tags.get("b").unwrap()).unwrap(), b"ABC");
        assert_eq!((tags.get("empty"), tags.get("x")), (Some(""), None));
        assert_eq!(base64("QQ").as_deref(), Some(&b"A"[..]));
        assert_eq!(base64("Q"), None);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["v", "v=1; v=1", "=1", "1v=1", "a b=1", "v=1; ; x"] {
            assert!(Tags::parse(text).is_none(), "{text}");
        }
        let many: String = (0..33).map(|n| format!("t{n}=;")).collect();
        assert!(Tags::parse(&many).is_none());
        assert!(Tags::parse("").is_some());
    }
}
