//! Signatures of the RFCs, signatures of our own, and every change that has to break them.

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
        Outcome::Signed { mut fields, .. } => {
            fields.extend_from_slice(message);
            fields
        }
        other @ (Outcome::Skipped(_) | Outcome::Failed(_)) => panic!("{other:?}"),
    }
}

/// RFC 6376 appendix A.2 with errata 3192 and 4926, and the key of appendix C.
#[test]
fn the_signature_of_rfc_6376_is_valid() {
    let message = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"
    .replace('\n', "\r\n");
    let record = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ\
        KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
        IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v\
        /RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
        tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
    let zone = Zone::default().with("brisbane._domainkey.example.com", record);
    assert_eq!(results(message.as_bytes(), &zone, NOW), [Ok(())]);
    let changed = message.replace("game. Are", "game.  Are");
    assert_eq!(
        results(changed.as_bytes(), &zone, NOW),
        [Err(Invalid::Body)],
        "simple bodies keep their spaces"
    );
    let changed = message.replace("com  [192", "com [192");
    assert_eq!(results(changed.as_bytes(), &zone, NOW), [Err(Invalid::Signature)]);
}

/// RFC 8463 appendix A.
const RFC_8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";

#[test]
fn the_signatures_of_rfc_8463_are_valid() {
    let zone = Zone::default()
        .with("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        .with("test._domainkey.football.example.com", "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB");
    let message = RFC_8463.replace('\n', "\r\n");
    assert_eq!(results(message.as_bytes(), &zone, NOW), [Ok(()), Ok(())]);
}

/// Ed25519 draws no random numbers: the key of RFC 8463 makes its signature.
#[test]
fn the_key_of_rfc_8463_signs_as_it_does_there() {
    let seed = super::tags::base64("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
    let der = [
        &[
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ],
        &seed[..],
    ]
    .concat();
    let key = SigningKey::from_pkcs8(&der).unwrap();
    assert_eq!(
        key.record(),
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    );
    // What is signed there, by the hand of the reader.
    let data = "from:Joe SixPack <joe@football.example.com>\r\nto:Suzie Q <suzie@shopping.example.net>\r\n\
        subject:Is dinner ready?\r\ndate:Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
        message-id:<20030712040037.46341.5F8J@football.example.com>\r\n\
        dkim-signature:v=1; a=ed25519-sha256; c=relaxed/relaxed; d=football.example.com; \
        i=@football.example.com; q=dns/txt; s=brisbane; t=1528637909; h=from : to : subject : date : message-id : \
        from : subject : date; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=";
    let expected = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    assert_eq!(
        key.sign(data.as_bytes()).unwrap(),
        super::tags::base64(expected).unwrap()
    );
}

#[test]
fn signatures_stand_in_front_rsa_first_and_hold_what_they_should() {
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
fn every_change_of_what_is_signed_breaks_the_signature() {
    let rules = both();
    let zone = Zone::of(&rules);
    let message = signed(&rules, MESSAGE.as_bytes());
    let text = String::from_utf8(message).unwrap();
    let invalid = |changed: &str| {
        assert_ne!(changed, text);
        results(changed.as_bytes(), &zone, NOW)
    };
    let broken = |invalid: Invalid| [Err(invalid.clone()), Err(invalid)];
    for line in [
        "From: Ada",
        "To: bob",
        "Subject: dinner",
        "Date: Tue",
        "Message-ID: <1",
    ] {
        let name = line.split_once(':').unwrap().0;
        // Changed.
        assert_eq!(
            invalid(&text.replace(line, &format!("{line}x"))),
            broken(Invalid::Signature),
            "{line}"
        );
        // Added, above and below.
        for place in ["Received: from", "X-Other:"] {
            let added = text.replace(place, &format!("{name}: z\r\n{place}"));
            assert_eq!(
                invalid(&added),
                broken(Invalid::Signature),
                "{name} before {place}"
            );
        }
        // Removed.
        let at = text.find(line).unwrap();
        let field = Fields::from(text.as_bytes(), at).next().unwrap().raw.len();
        let removed = format!("{}{}", &text[..at], &text[at + field..]);
        assert_eq!(invalid(&removed), broken(Invalid::Signature), "{line}");
    }
    // Added, where the message had none.
    for name in [
        "Cc",
        "Reply-To",
        "Content-Type",
        "mime-version",
        "Content-Transfer-Encoding",
    ] {
        let added = text.replace("X-Other:", &format!("{name}: z\r\nX-Other:"));
        assert_eq!(invalid(&added), broken(Invalid::Signature), "{name}");
    }
    for (from, to) in [
        ("Hello", "hello"),
        ("well.\r\n", "well.\r\nx\r\n"),
        ("well.\r\n", "well\r\n"),
        ("Bob, \r\n\r\n", "Bob,\r\n"),
    ] {
        assert_eq!(invalid(&text.replace(from, to)), broken(Invalid::Body), "{from}");
    }
    // In the signatures themselves.
    for (from, to, why) in [
        ("t=1796000000", "t=1796000001", Invalid::Signature),
        (
            "h=From",
            "h=X",
            Invalid::Malformed("h= does not name From, or more than 1,000 fields"),
        ),
        (
            "s=r1",
            "s=e1",
            Invalid::Record("the key is for another algorithm"),
        ),
        (
            "d=example.org",
            "d=example.com",
            Invalid::NoKey(LookupError::NoSuchDomain),
        ),
        ("v=1", "v=2", Invalid::Malformed("v= is not 1")),
    ] {
        let changed = match from {
            "h=From" => text.replacen("h=From:From:", "h=X:X:", 1),
            _ => text.replacen(from, to, 1),
        };
        assert_eq!(invalid(&changed), [Err(why), Ok(())], "{from}");
    }
    // And what is not signed, or is the same in the relaxed form, may change.
    for (from, to) in [
        ("X-Other: y", "X-Other: z"),
        ("Received: from a", "Received: from c by d\r\nReceived: from a"),
        ("Hello  Bob, ", "Hello Bob,"),
        ("Subject: dinner", "SUBJECT :\r\n\tdinner "),
        ("well.\r\n", "well.\r\n\r\n\r\n"),
    ] {
        assert_eq!(invalid(&text.replace(from, to)), [Ok(()), Ok(())], "{from}");
    }
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
fn a_key_record_decides_what_its_key_may_sign() {
    let rules = rules(vec![key("example.org", "r1", PKCS1)]);
    let message = signed(&rules, MESSAGE.as_bytes());
    let record = rules.keys[0].key.record();
    let fit = |text: &str| {
        results(
            &message,
            &Zone::default().with("r1._domainkey.example.org", text),
            NOW,
        )
    };
    let p = record.split_once("p=").unwrap().1;
    for good in [
        record.clone(),
        format!("p={p}"),
        format!("{record}; t=s; s=email; h=sha1:sha256; n=x"),
        format!("{record}; t=y"),
    ] {
        assert_eq!(fit(&good), [Ok(())], "{good}");
    }
    for bad in [
        "v=DKIM1; k=rsa; p=".to_owned(),
        format!("{record}; h=sha1"),
        format!("{record}; s=web"),
        record.replace("k=rsa", "k=ed25519"),
        record.replace("k=rsa", "k=other"),
        "v=spf1 -all".to_owned(),
        format!("k=rsa; v=DKIM1; p={p}"),
    ] {
        assert!(
            matches!(fit(&bad)[..], [Err(Invalid::Record(_))]),
            "{bad}: {:?}",
            fit(&bad)
        );
    }
    // Of several records any may be the one.
    let zone = Zone::default()
        .with("r1._domainkey.example.org", "other")
        .with("r1._domainkey.example.org", &record);
    assert_eq!(results(&message, &zone, NOW), [Ok(())]);
    let other = SigningKey::from_pem(PKCS8).unwrap().record();
    assert_eq!(fit(&other), [Err(Invalid::Signature)]);
}

#[test]
fn dns_is_compared_with_a_key() {
    let own = SigningKey::from_pem(PKCS8).unwrap();
    let name = "s._domainkey.example.org";
    let asked = |zone: Zone| run(published(&zone, "example.org", "s", &own));
    assert_eq!(asked(Zone::default().with(name, &own.record())), Published::Yes);
    assert_eq!(asked(Zone::default()), Published::No);
    let other = SigningKey::from_pem(PKCS1).unwrap().record();
    for (text, why) in [
        (other.as_str(), "another key"),
        ("v=DKIM1; p=", "revoked"),
        ("hello", "no key record"),
        (&format!("{}; t=y", own.record()), "testing"),
        (&format!("{}; s=web", own.record()), "does not allow"),
    ] {
        let found = asked(Zone::default().with(name, text));
        assert!(
            matches!(&found, Published::Differs(told) if told.contains(why)),
            "{text}: {found:?}"
        );
    }
    let twice = Zone::default().with(name, &own.record()).with(name, "x");
    assert!(matches!(asked(twice), Published::Differs(why) if why.contains("more than one")));
    let line = zone_line("example.org", "s", &own);
    let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    assert!(
        line.starts_with("s._domainkey.example.org. IN TXT ( \"v=DKIM1; k=rsa; p="),
        "{line}"
    );
    assert_eq!((strings.len(), strings.concat()), (2, own.record()));
    assert!(strings.iter().all(|string| string.len() <= 255));
}

#[test]
fn keys_are_read_from_pem_and_what_cannot_sign_is_refused() {
    for (pem, algorithm) in [
        (PKCS1, Algorithm::Rsa),
        (PKCS8, Algorithm::Rsa),
        (ED25519, Algorithm::Ed25519),
        (include_bytes!("testdata/rsa-4096.pem"), Algorithm::Rsa),
    ] {
        assert_eq!(SigningKey::from_pem(pem).unwrap().algorithm(), algorithm);
    }
    let refused = |pem: &[u8]| SigningKey::from_pem(pem).unwrap_err();
    assert_eq!(
        refused(include_bytes!("testdata/rsa-1024.pem")),
        KeyError::TooShort
    );
    assert_eq!(
        refused(include_bytes!("testdata/ec.pem")),
        KeyError::OtherAlgorithm
    );
    assert_eq!(refused(include_bytes!("testdata/encrypted.pem")), KeyError::NoKey);
    assert_eq!(refused(b""), KeyError::NoKey);
    assert_eq!(refused(b"\x00\xff"), KeyError::NoKey);
    assert_eq!(refused(&[PKCS1, PKCS8].concat()), KeyError::Several);
    let cut = String::from_utf8(PKCS8.to_vec())
        .unwrap()
        .replacen("MII", "MIJ", 1);
    assert!(
        matches!(refused(cut.as_bytes()), KeyError::Unusable(_)),
        "{:?}",
        refused(cut.as_bytes())
    );
    assert!(matches!(refused(&PKCS8[..300]), KeyError::Unusable(_)));
    let debug = format!("{:?}", SigningKey::from_pem(PKCS8).unwrap());
    assert_eq!(debug, "SigningKey(rsa-sha256)");
}

#[test]
fn the_key_is_chosen_by_domain_and_time() {
    let timed = |selector: &str, pem, from: Option<i64>, until: Option<i64>| DomainKey {
        from: from.map(Timestamp),
        until: until.map(Timestamp),
        ..key("example.org", selector, pem)
    };
    let rules = rules(vec![
        timed("old", PKCS1, None, Some(200)),
        timed("new", PKCS8, Some(100), Some(300)),
        timed("ed", ED25519, Some(50), Some(250)),
        DomainKey {
            subdomains: true,
            ..key("mail.example.org", "sub", PKCS8)
        },
        DomainKey {
            from: Some(Timestamp(100)),
            ..key("later.example", "l", PKCS8)
        },
    ]);
    let chosen = |author: &str, now: i64| match rules.choose(author, Timestamp(now)) {
        Choice::Keys(keys) => keys
            .iter()
            .map(|key| key.selector.clone())
            .collect::<Vec<_>>()
            .join(" "),
        Choice::NoKey => "none".to_owned(),
        Choice::Ended(domain) => format!("ended {domain}"),
    };
    for (author, now, expected) in [
        ("example.org", 0, "old"),
        ("example.org", 50, "old ed"),
        ("example.org", 100, "new ed"),
        ("example.org", 250, "new"),
        ("example.org", 300, "ended example.org"),
        ("sub.example.org", 0, "none"),
        ("badexample.org", 0, "none"),
        ("mail.example.org", 300, "sub"),
        ("a.b.mail.example.org", 0, "sub"),
        ("later.example", 99, "none"),
        ("later.example", 100, "l"),
        ("org", 0, "none"),
    ] {
        assert_eq!(chosen(author, now), expected, "{author} {now}");
    }
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
            Outcome::Skipped(why),
            "{message}"
        );
    }
    let from = "From: a@example.org\r\n";
    let many = format!("{from}{}\r\n", "To: x\r\n".repeat(500));
    assert_eq!(
        sign(&rules, many.as_bytes(), NOW),
        Outcome::Skipped(Skipped::TooLarge)
    );
    let long = format!("{from}To: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(
        sign(&rules, long.as_bytes(), NOW),
        Outcome::Skipped(Skipped::TooLarge)
    );
    // As many as may be.
    let most = format!("{from}{}\r\n", "To: x\r\n".repeat(499));
    assert_eq!(
        results(&signed(&rules, most.as_bytes()), &Zone::of(&rules), NOW),
        [Ok(()), Ok(())]
    );
}

#[test]
fn what_may_break_a_signature_is_told() {
    let rules = both();
    let fragility = |message: &str| match sign(&rules, message.as_bytes(), NOW) {
        Outcome::Signed { fragility, .. } => (fragility.long_line, fragility.eight_bit),
        other @ (Outcome::Skipped(_) | Outcome::Failed(_)) => panic!("{other:?}"),
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
fn fields_that_change_on_the_way_cannot_be_signed() {
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

fn signing(rules: Rules, threads: usize) -> (Signing, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    (
        Signing::new(rules, Arc::clone(&clock) as Arc<dyn Clock>, threads),
        clock,
    )
}

#[test]
fn a_message_is_signed_in_place_and_counted() {
    let (signing, _clock) = signing(both(), 1);
    let zone = Zone::of(&both());
    let message = run(signing.sign(Bytes::from_static(MESSAGE.as_bytes()))).unwrap();
    assert_eq!(results(&message, &zone, NOW), [Ok(()), Ok(())]);
    let other = Bytes::from_static(b"From: a@example.com\r\n\r\n");
    assert_eq!(run(signing.sign(other.clone())).unwrap().as_ptr(), other.as_ptr());
    let expected = SigningCounts {
        signed: 1,
        no_key: 1,
        ..SigningCounts::default()
    };
    assert_eq!(signing.counts(), expected);
}

#[test]
fn keys_are_exchanged_while_it_runs() {
    let (signing, _clock) = signing(Rules::default(), 1);
    assert!(!signing.has_keys());
    let message = Bytes::from_static(MESSAGE.as_bytes());
    assert_eq!(run(signing.sign(message.clone())).unwrap(), message);
    signing.replace(both());
    assert!(signing.has_keys());
    assert_ne!(run(signing.sign(message.clone())).unwrap(), message);
}

#[test]
fn a_domain_whose_keys_have_ended_is_refused_or_left_unsigned_as_configured() {
    let ended = |on_failure| {
        let mut rules = rules(vec![key("example.org", "r1", PKCS8)]);
        rules.keys[0].until = Some(NOW);
        rules.on_failure = on_failure;
        rules
    };
    let message = Bytes::from_static(MESSAGE.as_bytes());
    let (deferring, _clock) = signing(ended(OnFailure::Defer), 1);
    let refused = run(deferring.sign(message.clone()));
    assert!(
        matches!(&refused, Err(SignError::Failed(why)) if why.contains("example.org")),
        "{refused:?}"
    );
    let (lenient, _clock) = signing(ended(OnFailure::Unsigned), 1);
    assert_eq!(run(lenient.sign(message.clone())), Ok(message));
    assert_eq!((deferring.counts().failed, lenient.counts().failed), (1, 1));
}

#[tokio::test]
async fn so_many_wait_for_their_turn_and_no_more() {
    let (signing, _clock) = signing(rules(vec![key("example.org", "e1", ED25519)]), 2);
    let message = Bytes::from_static(MESSAGE.as_bytes());
    let threads = signing.threads();
    let held = threads.acquire_many(2).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..MAX_WAITING + 76 {
        all.spawn(signing.sign(message.clone()));
    }
    // While nothing is signed, only those without a place get an answer.
    for _ in 0..76 {
        let refused = all.join_next().await.unwrap().unwrap();
        assert_eq!(refused, Err(SignError::Busy));
    }
    drop(held);
    while let Some(result) = all.join_next().await {
        assert!(result.unwrap().unwrap().len() > message.len());
    }
    assert_eq!(signing.counts().busy, 76);
    // And places come back.
    assert!(signing.sign(message).await.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_valid_and_any_other_byte_makes_it_invalid_or_the_same(
        subject in "[ -~\u{e4}\t]{0,60}",
        extra in proptest::sample::subsequence(vec!["To: x\r\n", "to : y\r\n", "Cc:\r\n", "X-Y: z\r\n", "List-Id: <l.example.org>\r\n", "DKIM-Signature: v=1; junk\r\n"], 0..6),
        body in "([ -~\t]{0,20}\r\n){0,5}",
        at in any::<proptest::sample::Index>(),
        to in 33_u8..127,
    ) {
        let rules = rules(vec![key("example.org", "e1", ED25519)]);
        let zone = Zone::of(&rules);
        let message = format!("From: ada@example.org\r\nSubject: {subject}\r\n{}\r\n{body}", extra.concat());
        let message = signed(&rules, message.as_bytes());
        let valid = |message: &[u8]| results(message, &zone, NOW)[0].is_ok();
        prop_assert!(valid(&message));
        // One byte of the body changed to another printable one: white space aside, the canonical form is another.
        let start = crate::submission::body_start(&message);
        let changeable: Vec<usize> = (start..message.len()).filter(|at| message[*at].is_ascii_graphic()).collect();
        if !changeable.is_empty() {
            let mut changed = message.clone();
            let at = changeable[at.index(changeable.len())];
            changed[at] = to;
            prop_assert_eq!(valid(&changed), changed == message);
        }
    }
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Not a test: prints what a signature costs. docs/performance.md has the command.
#[test]
#[ignore = "measures"]
fn rate_of_signatures() {
    for (name, rules) in [
        ("RSA-2048", rules(vec![key("example.org", "r1", PKCS8)])),
        ("Ed25519", rules(vec![key("example.org", "e1", ED25519)])),
        ("RSA-2048 and Ed25519", both()),
    ] {
        for size in [2 << 10, 64 << 10, 1 << 20] {
            let line = "The quick brown fox jumps over the lazy dog, again and again and again.\r\n";
            let message = format!("{MESSAGE}{}", line.repeat(size / line.len()));
            let (start, mut count) = (cpu_time(), 0_u32);
            while cpu_time() - start < Duration::from_secs(2) {
                assert!(matches!(
                    sign(&rules, message.as_bytes(), NOW),
                    Outcome::Signed { .. }
                ));
                count += 1;
            }
            let each = (cpu_time() - start) / count;
            let rate = 1.0 / each.as_secs_f64();
            println!(
                "{name}, {} KiB: {} us of CPU, {rate:.0} a second",
                message.len() >> 10,
                each.as_micros()
            );
        }
    }
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
