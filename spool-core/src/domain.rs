//! A domain in the form in which it is compared and looked up: A-labels in lower case (RFC 5890 section 2.3.2.1).
//!
//! Addresses keep the spelling that was given, and are sent with it.

use crate::address::valid_domain;
use std::borrow::Cow;

/// `domain` in A-labels and lower case. A domain without such a form (UTS #46 rejects it, or the result is not a
/// domain) keeps its characters, with ASCII letters in lower case. It equals itself and is in no DNS.
#[must_use]
pub fn a_labels(domain: &str) -> Cow<'_, str> {
    if domain.is_ascii() {
        return match domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => domain.to_ascii_lowercase().into(),
            false => domain.into(),
        };
    }
    match idna::domain_to_ascii(domain) {
        // The mapping of wide characters can also produce brackets and colons.
        Ok(ascii) if valid_domain(&ascii) && !ascii.starts_with('[') => ascii.into(),
        Ok(_) | Err(_) => domain.to_ascii_lowercase().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_domain_is_one_text() {
        for (spelling, expected) in [
            ("Example.ORG", "example.org"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("under_score.example", "under_score.example"),
            ("bücher。example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(a_labels(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn domains_without_a_labels_are_kept() {
        let long = format!("{}.example", "ü".repeat(63));
        for strange in ["ａ：ｂ.example", "［x］", "xn--\u{fc}.example", &long] {
            assert_eq!(a_labels(strange), strange);
        }
    }
}
