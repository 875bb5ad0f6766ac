//! Keys: their files, their records in DNS, and which of them signs.

use super::*;

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
    // Any of several records may match.
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
        (include_bytes!("../testdata/rsa-4096.pem"), Algorithm::Rsa),
    ] {
        assert_eq!(SigningKey::from_pem(pem).unwrap().algorithm(), algorithm);
    }
    let refused = |pem: &[u8]| SigningKey::from_pem(pem).unwrap_err();
    assert_eq!(
        refused(include_bytes!("../testdata/rsa-1024.pem")),
        KeyError::TooShort
    );
    assert_eq!(
        refused(include_bytes!("../testdata/ec.pem")),
        KeyError::OtherAlgorithm
    );
    assert_eq!(
        refused(include_bytes!("../testdata/encrypted.pem")),
        KeyError::NoKey
    );
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
