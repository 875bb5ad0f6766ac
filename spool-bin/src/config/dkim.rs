//! Reads `[dkim]`: the signing keys, and what they sign.

use super::read::{choice, flag, or_empty, parsed, path, positive_span, text};
use super::reader::TableReader;
use spool_core::{Timestamp, a_labels, valid_domain};
use spool_smtp::dkim::{DomainKey, OnSigningFailure, Rules};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// How much longer than the last attempt a signature must be valid: recipients check it later as well.
const AFTER_EXPIRY: Duration = Duration::from_secs(2 * 86_400);

/// `[[dkim.key]]`; the key itself stays in its file.
pub(crate) type DkimKey = DomainKey<PathBuf>;

/// `[dkim]`.
pub(super) fn dkim(section: &TableReader<'_>, expire_after: Option<Duration>) -> Rules<PathBuf> {
    let words = [
        ("defer", OnSigningFailure::Defer),
        ("unsigned", OnSigningFailure::Unsigned),
    ];
    let expiration = section.get("expiration", or_empty(positive_span));
    let least = expire_after.unwrap_or_default() + AFTER_EXPIRY;
    if expiration.is_some_and(|span| span < least) {
        let why = "must be at least two days more than retry.expire_after: mail that waits would lose its signature";
        section.problem("expiration", why);
    }
    Rules {
        keys: keys(section),
        headers: section.list("headers", parsed),
        oversigned: section.list("oversign", parsed),
        expiration,
        on_failure: section.get("on_failure", choice(&words)),
    }
}

fn keys(dkim: &TableReader<'_>) -> Vec<DkimKey> {
    let mut keys: Vec<DkimKey> = Vec::new();
    for section in dkim.sections("key") {
        let Some(key) = key(&section) else { continue };
        let same = |other: &DkimKey| (&other.domain, &other.selector) == (&key.domain, &key.selector);
        if keys.iter().any(same) {
            section.problem("selector", "this domain has a key of this selector already");
        }
        keys.push(key);
    }
    keys
}

fn key(section: &TableReader<'_>) -> Option<DkimKey> {
    let domain = section.optional("domain", |value| name(value, "domain"));
    let selector = section.optional("selector", |value| name(value, "selector"));
    let file = section.optional("file", path);
    let subdomains = section.get("subdomains", flag);
    let from = section.optional("from", time);
    let until = section.optional("until", time);
    section.require();
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        section.problem("until", "must be later than from");
    }
    Some(DkimKey {
        domain: domain?,
        selector: selector?,
        key: file?,
        subdomains,
        from,
        until,
    })
}

/// A domain, or a selector, which has the same form (RFC 6376 section 3.1).
fn name(value: &DeValue<'_>, what: &str) -> Result<String, String> {
    let name = text(value)?;
    let ascii = a_labels(&name);
    match valid_domain(&name) && ascii.is_ascii() && !ascii.starts_with('[') {
        true => Ok(ascii.into_owned()),
        false => Err(format!("{name:?} is not a {what}")),
    }
}

/// A date, which begins at midnight UTC, or a time: `2026-12-01`, `2026-12-01T06:00:00Z`; as a text or a TOML date.
fn time(value: &DeValue<'_>) -> Result<Timestamp, String> {
    let text = match value.as_datetime() {
        Some(time) => time.to_string(),
        None => text(value)?,
    };
    let midnight = if text.contains('T') { "" } else { "T00:00:00Z" };
    let time = format!("{text}{midnight}").parse();
    time.map_err(|_| format!("{text:?} is not a time; write 2026-12-01 or 2026-12-01T06:00:00Z"))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use spool_core::Timestamp;

    const KEY: &str = "[[dkim.key]]\ndomain = \"B\u{fc}cher.example\"\nselector = \"S1\"\nfile = \"k.pem\"\n";

    fn problems(text: &str) -> Vec<String> {
        let problems = Config::parse(text).unwrap_err();
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.line, problem.text))
            .collect()
    }

    #[test]
    fn keys_are_read_with_their_times() {
        let day = Timestamp(1_796_083_200_000);
        for (from, at) in [
            ("\"2026-12-01\"", day),
            ("2026-12-01", day),
            ("2026-12-01T00:00:00Z", day),
            ("\"2026-12-01T00:00:01.5Z\"", Timestamp(day.0 + 1500)),
        ] {
            let config = Config::parse(&format!(
                "{KEY}subdomains = true\nfrom = {from}\nuntil = \"2027-01-01\"\n"
            ));
            let [key] = &config.unwrap().dkim.keys[..] else {
                panic!("one key")
            };
            assert_eq!((&*key.domain, &*key.selector), ("xn--bcher-kva.example", "s1"));
            assert_eq!((key.from, key.subdomains), (Some(at), true), "{from}");
        }
    }

    #[test]
    fn errors_of_a_signing_key_have_their_lines() {
        for (text, expected) in [
            (
                "[[dkim.key]]\n".to_owned(),
                vec![
                    "1: dkim.key.domain: is missing",
                    "1: dkim.key.file: is missing",
                    "1: dkim.key.selector: is missing",
                ],
            ),
            (KEY.replace("S1", "a b"), vec!["3: dkim.key.selector: "]),
            (format!("{KEY}from = \"soon\"\n"), vec!["5: dkim.key.from: "]),
            (
                format!("{KEY}from = \"2026-12-02\"\nuntil = \"2026-12-02\"\n"),
                vec!["6: dkim.key.until: must be later"],
            ),
            (
                format!("{KEY}{KEY}"),
                vec!["7: dkim.key.selector: this domain has"],
            ),
            (format!("{KEY}frob = 1\n"), vec!["5: dkim.key.frob: unknown key"]),
            (
                "[dkim]\nheaders = [\"To\", \"Received\"]\n".to_owned(),
                vec!["2: dkim.headers: "],
            ),
            (
                "[dkim]\non_failure = \"drop\"\n".to_owned(),
                vec!["2: dkim.on_failure: "],
            ),
            (
                "[dkim]\nexpiration = \"5d\"\n".to_owned(),
                vec!["2: dkim.expiration: must be at least two days more"],
            ),
        ] {
            let mut found = problems(&text);
            found.sort();
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{text}: {found}");
            }
        }
        assert!(Config::parse("[dkim]\nexpiration = \"6d\"\n").is_ok());
    }
}
