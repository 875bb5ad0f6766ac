//! Signatures of the RFCs, signatures of our own, and every change that has to break them.

mod changes;

mod signing;

mod keys;

mod rfcs;

use super::rules::Choice;
use super::*;
use crate::client::{Addresses, Answer, Exchanger, LookupError, Resolve};
use crate::submission::{Fields, NoAuthor};
use bytes::Bytes;
use proptest::prelude::*;
use spool_core::{BoxFuture, Clock, ManualClock, SignError, Signer, Timestamp};
use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

const PKCS1: &[u8] = include_bytes!("testdata/rsa-pkcs1.pem");
const PKCS8: &[u8] = include_bytes!("testdata/rsa-pkcs8.pem");
const ED25519: &[u8] = include_bytes!("testdata/ed25519.pem");
const NOW: Timestamp = Timestamp(1_796_000_000_000);

const MESSAGE: &str = "Received: from a by b; Tue, 24 Nov 2026 03:39:12 +0000\r\n\
    From: Ada <ada@example.org>\r\nTo: bob@example.net,\r\n\tcarol@example.net\r\nSubject: dinner\r\n\
    Date: Tue, 24 Nov 2026 03:39:12 +0000\r\nMessage-ID: <1@example.org>\r\nX-Other: y\r\n\r\n\
    Hello  Bob, \r\n\r\nall is well.\r\n";

/// Key records by name.
#[derive(Debug, Default)]
struct Zone(HashMap<String, Vec<String>>);

impl Zone {
    fn with(mut self, name: &str, text: &str) -> Self {
        self.0.entry(name.to_owned()).or_default().push(text.to_owned());
        self
    }

    fn of(rules: &Rules) -> Self {
        rules.keys.iter().fold(Self::default(), |zone, key| {
            zone.with(&key.to_string(), &key.key.record())
        })
    }
}

impl Resolve for Zone {
    fn exchangers(&self, _: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>> {
        Box::pin(ready(Err(LookupError::NoData)))
    }

    fn addresses(&self, _: &str) -> BoxFuture<Result<Addresses, LookupError>> {
        Box::pin(ready(Err(LookupError::NoData)))
    }

    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        Box::pin(ready(self.0.get(name).cloned().ok_or(LookupError::NoSuchDomain)))
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

fn results(message: &[u8], zone: &Zone, now: Timestamp) -> Vec<Result<(), Invalid>> {
    let verdicts = run(verify(message, zone, now));
    verdicts.into_iter().map(|verdict| verdict.result).collect()
}

fn key(domain: &str, selector: &str, pem: &[u8]) -> DomainKey {
    DomainKey {
        domain: domain.to_owned(),
        selector: selector.to_owned(),
        subdomains: false,
        from: None,
        until: None,
        key: SigningKey::from_pem(pem).unwrap(),
    }
}

fn rules(keys: Vec<DomainKey>) -> Rules {
    Rules {
        keys,
        ..Rules::default()
    }
}

fn both() -> Rules {
    rules(vec![
        key("example.org", "e1", ED25519),
        key("example.org", "r1", PKCS8),
    ])
}

fn signed(rules: &Rules, message: &[u8]) -> Vec<u8> {
    match sign(rules, message, NOW) {
        SigningOutcome::Signed { mut fields, .. } => {
            fields.extend_from_slice(message);
            fields
        }
        other @ (SigningOutcome::Skipped(_) | SigningOutcome::Failed(_)) => panic!("{other:?}"),
    }
}

#[test]
fn signatures_come_first_rsa_before_ed25519() {
    let rules = both();
    let message = signed(&rules, MESSAGE.as_bytes());
    let text = String::from_utf8(message.clone()).unwrap();
    assert!(text.ends_with(MESSAGE));
    let fields: Vec<_> = Fields::of(&message)
        .take(2)
        .map(|field| String::from_utf8(field.raw.to_vec()).unwrap())
        .collect();
    assert!(
        fields[0].contains("a=rsa-sha256;") && fields[0].contains("s=r1;"),
        "{}",
        fields[0]
    );
    assert!(
        fields[1].contains("a=ed25519-sha256;") && fields[1].contains("s=e1;"),
        "{}",
        fields[1]
    );
    for field in &fields {
        let tags = super::tags::Tags::parse(field.split_once(':').unwrap().1).unwrap();
        assert_eq!(tags.get("c"), Some("relaxed/relaxed"));
        assert_eq!(tags.get("t"), Some("1796000000"));
        assert_eq!((tags.get("l"), tags.get("x"), tags.get("i")), (None, None, None));
        let names: String = tags.get("h").unwrap().split_ascii_whitespace().collect();
        assert_eq!(
            names,
            "From:From:To:To:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:Reply-To:MIME-Version:\
             Content-Type:Content-Transfer-Encoding"
        );
        assert!(field.split("\r\n").all(|line| line.len() <= 78), "{field}");
    }
    assert_eq!(results(&message, &Zone::of(&rules), NOW), [Ok(()), Ok(())]);
}

#[test]
fn a_signature_with_a_time_limit_ends() {
    let mut rules = both();
    rules.expiration = Some(Duration::from_secs(3600));
    let zone = Zone::of(&rules);
    let message = signed(&rules, MESSAGE.as_bytes());
    assert!(String::from_utf8_lossy(&message).contains("x=1796003600;"));
    let at = |seconds| results(&message, &zone, NOW.after(Duration::from_secs(seconds)));
    assert_eq!(at(3600 + 300), [Ok(()), Ok(())]);
    assert_eq!(at(3600 + 301), [Err(Invalid::Expired), Err(Invalid::Expired)]);
    let early = Timestamp(NOW.0 - 301_000);
    assert_eq!(
        results(&message, &zone, early),
        [Err(Invalid::Future), Err(Invalid::Future)]
    );
}

#[test]
fn what_has_no_key_or_no_single_author_is_not_signed() {
    let rules = both();
    for (message, why) in [
        ("To: x\r\n\r\n", Skipped::Author(NoAuthor::None)),
        (
            "From: a@example.org, b@example.org\r\n\r\n",
            Skipped::Author(NoAuthor::Several),
        ),
        (
            "From: a@example.org\r\nFrom: a@example.org\r\n\r\n",
            Skipped::Author(NoAuthor::Several),
        ),
        ("From: nobody\r\n\r\n", Skipped::Author(NoAuthor::Unreadable)),
        ("From: a@example.com\r\n\r\n", Skipped::NoKey),
        ("From: a@sub.example.org\r\n\r\n", Skipped::NoKey),
        ("From: a@example.org\r\nno field\r\n\r\n", Skipped::Malformed),
    ] {
        assert_eq!(
            sign(&rules, message.as_bytes(), NOW),
            SigningOutcome::Skipped(why),
            "{message}"
        );
    }
    let from = "From: a@example.org\r\n";
    let many = format!("{from}{}\r\n", "To: x\r\n".repeat(500));
    assert_eq!(
        sign(&rules, many.as_bytes(), NOW),
        SigningOutcome::Skipped(Skipped::TooLarge)
    );
    let long = format!("{from}To: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(
        sign(&rules, long.as_bytes(), NOW),
        SigningOutcome::Skipped(Skipped::TooLarge)
    );
    // The maximum.
    let most = format!("{from}{}\r\n", "To: x\r\n".repeat(499));
    assert_eq!(
        results(&signed(&rules, most.as_bytes()), &Zone::of(&rules), NOW),
        [Ok(()), Ok(())]
    );
}

#[test]
fn what_may_break_a_signature_is_reported() {
    let rules = both();
    let fragility = |message: &str| match sign(&rules, message.as_bytes(), NOW) {
        SigningOutcome::Signed { fragility, .. } => (fragility.long_line, fragility.eight_bit),
        other @ (SigningOutcome::Skipped(_) | SigningOutcome::Failed(_)) => panic!("{other:?}"),
    };
    let from = "From: a@example.org\r\n";
    assert_eq!(
        fragility(&format!("{from}\r\n{}\r\n", "x".repeat(998))),
        (false, false)
    );
    assert_eq!(
        fragility(&format!("{from}\r\n{}\r\n", "x".repeat(999))),
        (true, false)
    );
    assert_eq!(
        fragility(&format!("{from}To: {}\r\n\r\n", "x".repeat(994))),
        (false, false)
    );
    assert_eq!(
        fragility(&format!("{from}To: {}\r\n\r\n", "x".repeat(995))),
        (true, false)
    );
    assert_eq!(fragility(&format!("{from}\r\n\u{fc}\r\n")), (false, true));
}

#[test]
fn fields_that_change_in_transit_cannot_be_signed() {
    for name in [
        "received",
        "Return-Path",
        "BCC",
        "DKIM-Signature",
        "",
        "a b",
        "a:b",
        "\u{fc}",
    ] {
        assert!(name.parse::<FieldName>().is_err(), "{name}");
    }
    let all = DEFAULT_HEADERS.iter().chain(&DEFAULT_OVERSIGNED);
    all.for_each(|name| drop(name.parse::<FieldName>().unwrap()));
    let mut rules = both();
    (rules.headers, rules.oversigned) = (vec!["x-other".parse().unwrap()], Vec::new());
    let message = signed(&rules, MESSAGE.as_bytes());
    assert!(
        String::from_utf8_lossy(&message).contains("h=From:From:x-other;"),
        "From is always oversigned"
    );
    assert_eq!(results(&message, &Zone::of(&rules), NOW), [Ok(()), Ok(())]);
}

#[test]
fn no_more_signatures_are_checked_than_ten() {
    let junk = "DKIM-Signature: v=1; junk\r\n".repeat(20);
    let found = results(format!("{junk}{MESSAGE}").as_bytes(), &Zone::default(), NOW);
    assert_eq!(found.len(), MAX_SIGNATURES);
    let names = "x:".repeat(1000);
    let many =
        format!("DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h={names}From; bh=; b=\r\n{MESSAGE}");
    let found = results(many.as_bytes(), &Zone::default(), NOW);
    assert!(matches!(found[..], [Err(Invalid::Malformed(_))]), "{found:?}");
}
