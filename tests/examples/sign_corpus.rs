//! Signs the messages of the tests and of `SPOOL_TEST_CORPUS`, for verifiers from other hands: tests/dkim/campaign.sh.
//!
//! `sign_corpus DIR` writes into DIR: `good/NNN.eml`, signed by an RSA and an Ed25519 key; `bad/NNN-CHANGE.eml`, the same with one change
//! that has to break both signatures; `keys`, a line `NAME TEXT` for each key record.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a tool of the tests panics"
)]

use spool_core::{Clock, SystemClock, crlf};
use spool_smtp::dkim::{DomainKey, Rules, SigningKey, SigningOutcome, sign};
use spool_smtp::submission::author_domain;
use spool_tests::mails::{folder, own};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn rules(domain: &str) -> Rules {
    let key = |selector: &str, file: &str| DomainKey {
        domain: domain.to_owned(),
        selector: selector.to_owned(),
        subdomains: false,
        from: None,
        until: None,
        key: {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spool-smtp/src/dkim/testdata");
            SigningKey::from_pem(&fs::read(path.join(file)).unwrap()).unwrap()
        },
    };
    Rules {
        keys: vec![key("r", "rsa-pkcs8.pem"), key("e", "ed25519.pem")],
        ..Rules::default()
    }
}

/// Where the header fields begin and end, below the signatures, and their names.
fn fields(message: &[u8]) -> Vec<(usize, usize, String)> {
    let mut fields: Vec<(usize, usize, String)> = Vec::new();
    let mut at = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" {
            break;
        }
        let end = at + line.len();
        match fields.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.1 = end,
            _ => {
                let name = line.split(|byte| *byte == b':').next().unwrap();
                fields.push((at, end, String::from_utf8_lossy(name).trim().to_ascii_lowercase()));
            }
        }
        at = end;
    }
    fields
}

/// Every change that has to break the signatures of `message`, whose own two are `signatures` bytes long.
fn changes(message: &[u8], signatures: usize) -> Vec<(String, Vec<u8>)> {
    let mut changes = Vec::new();
    let with = |range: std::ops::Range<usize>, bytes: &[u8]| {
        let mut changed = message.to_vec();
        changed.splice(range, bytes.iter().copied());
        changed
    };
    let all = fields(message);
    let signed = [
        "from",
        "to",
        "cc",
        "subject",
        "date",
        "message-id",
        "reply-to",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    ];
    for name in signed {
        // The lowest is the first that is counted.
        if let Some((start, end, _)) = all
            .iter()
            .rev()
            .find(|(start, _, field)| *start >= signatures && field == name)
        {
            changes.push((format!("changed-{name}"), with(end - 2..end - 2, b"z")));
            changes.push((format!("removed-{name}"), with(*start..*end, b"")));
        }
        let field = format!("{name}: z\r\n");
        changes.push((
            format!("added-{name}"),
            with(signatures..signatures, field.as_bytes()),
        ));
    }
    let body = message
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .map(|end| end + 4);
    if let Some(body) = body.filter(|body| *body >= signatures) {
        changes.push((
            "trailing-line".to_owned(),
            with(message.len()..message.len(), b"z\r\n"),
        ));
        let byte = (body..message.len()).find(|at| message[*at].is_ascii_alphanumeric());
        if let Some(at) = byte {
            let other = if message[at] == b'q' { b"p" } else { b"q" };
            changes.push(("body-byte".to_owned(), with(at..at + 1, other)));
        }
    }
    changes
}

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a directory"));
    for sub in ["good", "bad"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let mut keys = BTreeMap::new();
    let (mut good, mut bad, mut skipped) = (0, 0, 0);
    for (number, (name, mail)) in own().into_iter().chain(folder()).enumerate() {
        let mail = crlf(mail.into()).ok();
        let Some((mail, domain)) = mail.and_then(|mail| Some((mail.clone(), author_domain(&mail).ok()?)))
        else {
            skipped += 1;
            continue;
        };
        let rules = rules(&domain);
        for key in &rules.keys {
            keys.insert(key.to_string(), key.key.record());
        }
        let fields = match sign(&rules, &mail, SystemClock.now()) {
            SigningOutcome::Signed { fields, .. } => fields,
            SigningOutcome::Skipped(_) => {
                skipped += 1;
                continue;
            }
            SigningOutcome::Failed(why) => panic!("{name}: {why}"),
        };
        let message = [&fields[..], &mail].concat();
        fs::write(dir.join(format!("good/{number:03}.eml")), &message).unwrap();
        good += 1;
        // Large ones once.
        if message.len() > 1 << 20 {
            continue;
        }
        for (change, changed) in changes(&message, fields.len()) {
            fs::write(dir.join(format!("bad/{number:03}-{change}.eml")), changed).unwrap();
            bad += 1;
        }
    }
    let lines: String = keys
        .iter()
        .map(|(name, text)| format!("{name} {text}\n"))
        .collect();
    fs::write(dir.join("keys"), lines).unwrap();
    println!("{good} signed, {bad} changed, {skipped} without an author or malformed");
}
