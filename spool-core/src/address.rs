//! Mail addresses, checked once and safe to put on the wire ever after.
//!
//! An [`Address`] holds no CR, LF, NUL, control or bidirectional override character, and has at most the lengths of RFC
//! 5321 section 4.5.3.1. The text is never normalized: the local part belongs to its owner.

use derive_more::{Debug, Display};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::str::FromStr;
use thiserror::Error;

/// The longest local part, in octets (RFC 5321 section 4.5.3.1.1).
pub(crate) const MAX_LOCAL_PART: usize = 64;
/// The longest domain, in octets (RFC 5321 section 4.5.3.1.2).
pub(crate) const MAX_DOMAIN: usize = 255;

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `@` between a local part and a domain.
    #[error("an address needs the form local@domain")]
    NoDomain,
    /// The local part is empty, too long, or holds a forbidden character.
    #[error("the part before the @ is empty, longer than 64 bytes, or holds a forbidden character")]
    LocalPart,
    /// The domain is empty, too long, or not a host name or address literal.
    #[error("the part after the @ is not a domain name or an address literal")]
    Domain,
}

/// A mailbox `local@domain`, as in RFC 5321 section 4.1.2, with the UTF-8 of RFC 6531 allowed.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[debug("{text:?}")]
#[display("{text}")]
pub struct Address {
    text: Box<str>,
    at: u16,
}

impl Address {
    /// Checks `text` and keeps it as it is.
    ///
    /// # Errors
    /// [`AddressError`] names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        if !valid_local_part(local) {
            return Err(AddressError::LocalPart);
        }
        if !valid_domain(domain) {
            return Err(AddressError::Domain);
        }
        // MAX_LOCAL_PART bounds the length.
        Ok(Self {
            text: text.into(),
            at: u16::try_from(local.len()).map_err(|_| AddressError::LocalPart)?,
        })
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.text.get(..usize::from(self.at)).unwrap_or_default()
    }

    /// The part after the `@`, as it was given.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(usize::from(self.at) + 1..).unwrap_or_default()
    }

    /// Whether the address can be sent without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

/// Whether `domain` is a host name (LDH labels, or UTF-8 labels) or an address literal in brackets.
#[must_use]
pub fn valid_domain(domain: &str) -> bool {
    if domain.is_empty() || domain.len() > MAX_DOMAIN {
        return false;
    }
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return valid_literal(literal);
    }
    domain.split('.').all(valid_label)
}

fn valid_literal(literal: &str) -> bool {
    match literal.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        Some(_) | None => literal.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

// The underscore is not valid in host names, but mail to such domains exists.
fn valid_label(label: &str) -> bool {
    !label.is_empty()
        && label.chars().count() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_safe_unicode(c))
}

fn valid_local_part(local: &str) -> bool {
    if local.is_empty() || local.len() > MAX_LOCAL_PART {
        return false;
    }
    match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => valid_quoted(quoted),
        None => local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atom)),
    }
}

fn valid_quoted(quoted: &str) -> bool {
    let mut escaped = false;
    for c in quoted.chars() {
        let printable = (' '..='~').contains(&c) || is_safe_unicode(c);
        if !printable || (!escaped && c == '"') {
            return false;
        }
        escaped = !escaped && c == '\\';
    }
    !escaped
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_safe_unicode(c)
}

/// Letters beyond ASCII, without the replacement character, C1 controls, and what reorders or hides text on a screen.
fn is_safe_unicode(c: char) -> bool {
    !c.is_ascii()
        && !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{fffd}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_use_are_accepted_unchanged() {
        for text in [
            "a@b",
            "first.last+tag@example.org",
            "\"quoted @ \\\" part\"@example.org",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "δοκιμή@παράδειγμα.gr",
            "x@under_score.example",
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address.as_str(), text);
            assert_eq!(format!("{}@{}", address.local_part(), address.domain()), text);
        }
    }

    #[test]
    fn dangerous_addresses_are_refused() {
        let long_local = format!("{}@b.org", "a".repeat(65));
        let long_domain = format!("a@{}", "a.".repeat(130));
        for text in [
            "",
            "a",
            "@b",
            "a@",
            "a@b\r\nRCPT TO:<c@d>",
            "a\0@b",
            "a b@c",
            "a..b@c",
            ".a@c",
            "a@c..d",
            "a@-c.org",
            "a@[999.1.1.1]",
            "a@[IPv6:zz]",
            "\"a\"b\"@c",
            "\"a\\\"@c",
            "a@b\u{202e}c",
            "a\u{fffd}@b",
            "<a@b>",
            &long_local,
            &long_domain,
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_address_carries_a_line_end(text in "\\PC{0,20}[\\r\\n\\x00 ]?\\PC{0,10}@\\PC{0,20}[\\r\\n\\x00]?\\PC{0,20}") {
            if let Ok(address) = Address::parse(&text) {
                proptest::prop_assert!(!address.as_str().contains(['\r', '\n', '\0']));
                proptest::prop_assert_eq!(Address::parse(address.as_str()), Ok(address));
            }
        }
    }
}
