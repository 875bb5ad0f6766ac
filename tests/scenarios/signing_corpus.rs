//! Signatures over mail of every kind, made here and by another signer, are verified by both.

use spool_core::{Clock as _, SystemClock, Timestamp, crlf};
use spool_smtp::client::DnsResolver;
use spool_smtp::dkim::{DomainKey, Rules, SigningKey, SigningOutcome, sign, verify};
use spool_smtp::submission::author_domain;
use spool_tests::mail_auth::{signatures, signed, txt_line};
use spool_tests::mails::{Named, folder, own};
use spool_tests::name_server::NameServer;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const NOW: fn() -> Timestamp = || SystemClock.now();

/// Every message with an author, signed with an RSA and an Ed25519 key of the author's domain, and the zone that publishes them. The
/// others are counted.
fn signed_corpus() -> (Vec<Named>, String, usize) {
    let pem = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../spool-smtp/src/dkim/testdata")
            .join(name);
        std::fs::read(path).unwrap()
    };
    let (mut zone, mut domains) = (String::new(), BTreeSet::new());
    let (mut all, mut skipped) = (Vec::new(), 0);
    for (name, mail) in own().into_iter().chain(folder()) {
        let Ok(mail) = crlf(mail.into()) else {
            skipped += 1;
            continue;
        };
        let Ok(domain) = author_domain(&mail) else {
            skipped += 1;
            continue;
        };
        let key = |selector: &str, file: &str| DomainKey {
            domain: domain.clone(),
            selector: selector.to_owned(),
            subdomains: false,
            from: None,
            until: None,
            key: SigningKey::from_pem(&pem(file)).unwrap(),
        };
        let rules = Rules {
            keys: vec![key("r", "rsa-pkcs8.pem"), key("e", "ed25519.pem")],
            ..Rules::default()
        };
        if domains.insert(domain.clone()) {
            for key in &rules.keys {
                write!(zone, "{}", txt_line(&key.to_string(), &key.key.record())).unwrap();
            }
        }
        match sign(&rules, &mail, NOW()) {
            SigningOutcome::Signed { mut fields, .. } => {
                fields.extend_from_slice(&mail);
                all.push((name, fields));
            }
            SigningOutcome::Skipped(_) => skipped += 1,
            SigningOutcome::Failed(why) => panic!("{name}: {why}"),
        }
    }
    (all, zone, skipped)
}

#[test]
fn signatures_of_mail_of_every_kind_are_valid_and_changes_are_found() {
    let (signed, zone, skipped) = signed_corpus();
    println!(
        "{} messages signed, {skipped} without an author or malformed",
        signed.len()
    );
    assert!(signed.len() >= 40);
    let dns = NameServer::start(&zone);
    let bytes: Vec<&[u8]> = signed.iter().map(|(_, message)| message.as_slice()).collect();
    for ((name, _), found) in signed.iter().zip(signatures(&bytes, &dns)) {
        assert_eq!(
            found.get(..2),
            Some(&[String::new(), String::new()][..]),
            "{name}: {found:?}"
        );
    }
    // A header field on top of those that are signed, and another line at the end.
    for change in [b"Subject: z\r\n".as_slice(), b"From: z@example.org\r\n", b""] {
        let changed: Vec<Vec<u8>> = bytes
            .iter()
            .map(|message| {
                let mut changed = message.to_vec();
                let first = message
                    .windows(17)
                    .position(|text| text == b"\r\nDKIM-Signature:");
                let place = first.unwrap() + 2;
                match change {
                    b"" if !message.windows(4).any(|end| end == b"\r\n\r\n") => {
                        changed.extend_from_slice(b"\r\nz\r\n");
                    }
                    b"" => changed.extend_from_slice(b"z\r\n"),
                    field => drop(changed.splice(place..place, field.iter().copied())),
                }
                changed
            })
            .collect();
        let changed: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
        for ((name, _), found) in signed.iter().zip(signatures(&changed, &dns)) {
            assert!(
                !found[0].is_empty() && !found[1].is_empty(),
                "{name} with {:?}: {found:?}",
                String::from_utf8_lossy(change)
            );
        }
    }
}

#[test]
fn signatures_of_another_signer_are_valid_in_every_canonical_form_and_changes_are_found() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem");
    let pem = std::fs::read_to_string(path).unwrap();
    let record = SigningKey::from_pem(pem.as_bytes()).unwrap().record();
    let dns = NameServer::start(&txt_line("s._domainkey.example.org", &record));
    let resolver = DnsResolver::new(&[dns.address]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let valid = |message: &[u8]| {
        let verdicts = runtime.block_on(verify(message, &resolver, NOW()));
        verdicts[0].result.clone()
    };
    let mut count = 0;
    for (name, mail) in own().into_iter().chain(folder()) {
        let Ok(mail) = crlf(mail.into()) else { continue };
        // A body that can be added to, and a header section that both read in the same way.
        let whole = mail.windows(4).any(|end| end == b"\r\n\r\n");
        if !whole || mail.len() > 1 << 20 || author_domain(&mail).is_err() {
            continue;
        }
        for (form, message) in signed(&mail, "example.org", "s", &pem) {
            assert_eq!(valid(&message), Ok(()), "{name}, {form}");
            let longer = [&message[..], b"z\r\n"].concat();
            assert!(valid(&longer).is_err(), "{name}, {form}");
            count += 1;
        }
    }
    println!("{count} signatures");
    assert!(count >= 100);
}
