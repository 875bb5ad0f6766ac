//! Changes of a signed message, and which of them break its signature.

use super::*;

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
    // Parts that are not signed, or have the same relaxed form, may change.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_bytes_invalidate_a_signature(
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
