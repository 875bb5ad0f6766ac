//! Notices about any mix of recipients and replies are read back by a parser from other hands (mail-parser), and compared with the record of
//! their message field by field.

use super::*;

fn boundary_of_the_notice() -> String {
    format!("=_{}.0", id(9))
}

/// What peers say that do not mean well.
fn text() -> impl Strategy<Value = String> {
    let boundary = boundary_of_the_notice();
    prop_oneof![
        Just("5.1.1 no such user".to_owned()),
        Just("4.2.0 greylisted".to_owned()),
        Just(String::new()),
        Just("x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; evil@x".to_owned()),
        Just(format!("--{boundary}--")),
        Just(format!("\r\n--{boundary}\r\n\r\nevil")),
        Just("é\u{202e}\u{0}\u{85} ü".to_owned()),
        Just("y".repeat(10_000)),
        Just("5.7.1 z ".repeat(1_500)),
        any::<String>(),
    ]
}

fn recipient_of_a_mix() -> impl Strategy<Value = Mixed> {
    let address = prop::sample::select(vec![
        "a@example.net",
        "\"a  b\"@example.net",
        "verp+a=b@example.net",
        "ü+a=b@example.net",
        "a@xn--bcher-kva.example",
        "x@[192.0.2.1]",
    ]);
    let notify = prop::option::of(
        any::<(bool, bool, bool)>().prop_map(|(success, failure, delay)| Notify {
            success,
            failure,
            delay,
        }),
    );
    let orcpt = prop::option::of(prop::sample::select(vec![
        "rfc822;o+1@example.org",
        "x-odd;a  b   c",
        "utf-8;\\x{FC}@x",
    ]));
    let fate = prop::sample::select(vec![Fate::Refused, Fate::Expired, Fate::Waiting, Fate::Taken]);
    (address, notify, orcpt, fate, text()).prop_map(|(address, notify, orcpt, fate, text)| {
        let code = if fate == Fate::Refused { 550 } else { 451 };
        // As an embedding program may make one: its text was not looked at.
        let mut reply = Reply::new(code, &text);
        reply.text = text;
        Mixed {
            address,
            notify,
            orcpt,
            fate,
            reply,
        }
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let boundary = boundary_of_the_notice();
    let texts = vec![
        "Message-ID: <m@example.org>\r\nSubject: hi\r\n\r\nHello\r\n".to_owned(),
        format!(
            "Subject: x\r\n\r\n--{boundary}\r\n\r\n--{boundary}--\r\n=_{}.1\r\n",
            id(9)
        ),
        "Subject: gr\u{fc}n\r\n\r\nx\r\n".to_owned(),
        "Subject: x\r\n\r\ngr\u{fc}n\r\n".to_owned(),
        format!("Subject: x\r\n\r\n{}\r\n", "l".repeat(999)),
        format!("Subject: x\r\n\r\n{}", "many lines\r\n".repeat(500)),
        "no header at all\r\n".to_owned(),
        "\r\nbody only\r\n".to_owned(),
        String::new(),
    ];
    prop::sample::select(texts).prop_map(String::into_bytes)
}

fn mix() -> impl Strategy<Value = Mix> {
    let envid = prop::option::of("[ -~]{1,100}");
    let ret = prop::option::of(prop::sample::select(vec![Ret::Full, Ret::Headers]));
    let requiretls = prop::bool::weighted(0.1);
    let limit = prop::sample::select(vec![50_000, 300]);
    let recipients = prop::collection::vec(recipient_of_a_mix(), 1..8);
    (recipients, ret, envid, requiretls, body(), limit).prop_map(
        |(recipients, ret, envid, requiretls, body, limit)| Mix {
            recipients,
            ret,
            envid,
            requiretls,
            body,
            limit,
        },
    )
}

/// What the notice of a mix must say, by the table of RFC 3461 alone: the action of each recipient, if any.
fn expected(mixed: &Mixed) -> Option<&'static str> {
    let has = |what: fn(Notify) -> bool, absent: bool| mixed.notify.map_or(absent, what);
    match mixed.fate {
        Fate::Refused | Fate::Expired => has(|n| n.failure, true).then_some("failed"),
        Fate::Waiting => has(|n| n.delay, true).then_some("delayed"),
        Fate::Taken => has(|n| n.success, false).then_some("relayed"),
    }
}

/// `text` as it stands in a field: escaped, cut, runs of blanks made one.
fn shown(text: &str, most: usize) -> String {
    let text = ascii(text, most);
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A notice as mail-parser reads it.
struct Read<'a> {
    bytes: &'a [u8],
    notice: mail_parser::Message<'a>,
    /// The parts of its multipart/report.
    parts: Vec<u32>,
}

impl<'a> Read<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let notice = MessageParser::default().parse(bytes).unwrap();
        let PartType::Multipart(parts) = &notice.parts[0].body else {
            panic!("{:?}", notice.parts[0].body);
        };
        let parts = parts.clone();
        assert!(parts.len() == 2 || parts.len() == 3, "{}", parts.len());
        Self { bytes, notice, parts }
    }

    fn part(&self, nth: usize) -> Option<&mail_parser::MessagePart<'a>> {
        self.parts.get(nth).map(|part| &self.notice.parts[*part as usize])
    }

    /// The bytes of a part, as they are in the notice.
    fn raw(&self, nth: usize) -> &'a [u8] {
        let part = self.part(nth).unwrap();
        &self.bytes[part.offset_body as usize..part.offset_end as usize]
    }

    fn text(&self, nth: usize) -> &'a str {
        std::str::from_utf8(self.raw(nth)).unwrap()
    }

    fn encoding(&self, nth: usize) -> &str {
        let part = self.part(nth).unwrap();
        part.content_transfer_encoding().unwrap_or_default()
    }
}

fn check(mix: &Mix, bytes: &[u8]) {
    let read = Read::new(bytes);
    check_headers(&read.notice);
    assert_eq!((read.encoding(0), read.encoding(1)), ("7bit", "7bit"));
    // Failures first, then delays, then what was relayed.
    let mut told: Vec<(&str, &Mixed)> = Vec::new();
    for action in ["failed", "delayed", "relayed"] {
        let all = mix
            .recipients
            .iter()
            .filter(|mixed| expected(mixed) == Some(action));
        told.extend(all.map(|mixed| (action, mixed)));
    }
    check_status(mix, &told, read.text(1));
    // The part for people names each of them.
    let text = read.text(0);
    for (_, mixed) in &told {
        let name = format!("<{}>\r\n    ", ascii(mixed.address, 800));
        assert!(text.contains(&name), "{text}");
    }
    check_original(mix, told.iter().any(|(action, _)| *action == "failed"), &read);
    // No line is too long, and none is ended by anything but CRLF.
    for line in bytes.split(|byte| *byte == b'\n') {
        assert!(line.len() <= 999 && (line.is_empty() || line.ends_with(b"\r")));
        assert!(!line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r'));
    }
    assert!(bytes.is_ascii());
}

fn check_headers(notice: &mail_parser::Message<'_>) {
    let header = |name: &'static str| notice.header_raw(name).map(str::trim);
    assert_eq!(header("Auto-Submitted"), Some("auto-replied"));
    assert_eq!(header("MIME-Version"), Some("1.0"));
    assert_eq!(header("To"), Some("<sender+1=x@example.org>"));
    assert_eq!(
        notice.message_id(),
        Some(format!("{}@mta.example.org", id(9)).as_str())
    );
    assert_eq!(notice.date().unwrap().to_timestamp(), T0.after(2 * HOUR).0 / 1000);
    let kind = notice.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
}

/// The delivery status says of the message, and of the recipients in `told`, what the record says.
fn check_status(mix: &Mix, told: &[(&str, &Mixed)], status: &str) {
    assert!(status.is_ascii());
    let blocks: Vec<_> = status.trim_end().split("\r\n\r\n").map(fields).collect();
    let (of_message, of_recipients) = blocks.split_first().unwrap();
    assert_eq!(get(of_message, "Reporting-MTA"), Some("dns; mta.example.org"));
    assert_eq!(get(of_message, "Arrival-Date"), Some(T0.rfc5322().as_str()));
    // As it was given, but for the blanks at its ends, which a reader of fields cannot tell from those around a value.
    let envid = mix.envid.as_deref().map(str::trim);
    assert_eq!(get(of_message, "Original-Envelope-Id"), envid);
    assert_eq!(of_recipients.len(), told.len());
    for (fields, (action, mixed)) in of_recipients.iter().zip(told) {
        check_recipient(fields, action, mixed);
    }
}

fn check_recipient(fields: &[(String, String)], action: &str, mixed: &Mixed) {
    let address = match mixed.address.is_ascii() {
        true => format!("rfc822; {}", mixed.address),
        false => "utf-8; \\x{FC}\\x{2B}a\\x{3D}b@example.net".to_owned(),
    };
    assert_eq!(get(fields, "Final-Recipient"), Some(address.as_str()));
    let orcpt = mixed.orcpt.map(|orcpt| orcpt.replacen(';', "; ", 1));
    assert_eq!(get(fields, "Original-Recipient"), orcpt.as_deref());
    assert_eq!(get(fields, "Action"), Some(action));
    let class = match action {
        "failed" => "5.",
        "delayed" => "4.",
        _ => "2.",
    };
    let status = get(fields, "Status").unwrap();
    assert!(status.starts_with(class), "{status} {action}");
    match (mixed.fate, mixed.reply.enhanced) {
        (Fate::Refused, Some(own)) if own.0 == 5 => assert_eq!(status, own.to_string()),
        (Fate::Waiting, Some(own)) if own.0 == 4 => assert_eq!(status, own.to_string()),
        (Fate::Expired, _) => assert_eq!(status, "5.4.7"),
        (Fate::Taken, _) => assert_eq!(status, "2.6.0"),
        _ => {}
    }
    assert_eq!(get(fields, "Remote-MTA"), Some("dns; mx1.example.net"));
    let reply = match mixed.fate {
        Fate::Taken => "250 2.6.0 taken".to_owned(),
        Fate::Refused | Fate::Expired | Fate::Waiting => mixed.reply.to_string(),
    };
    assert_eq!(
        get(fields, "Diagnostic-Code").unwrap(),
        shown(&format!("smtp; {}", ascii(&reply, 512)), 1000)
    );
    assert_eq!(
        get(fields, "Last-Attempt-Date"),
        Some(T0.after(HOUR).after(Duration::from_secs(2)).rfc5322().as_str())
    );
    assert_eq!(get(fields, "Will-Retry-Until").is_some(), action == "delayed");
}

/// The original is returned whole, or as its headers, or not at all.
fn check_original(mix: &Mix, failed: bool, read: &Read<'_>) {
    let may_be_whole =
        failed && !mix.requiretls && mix.ret != Some(Ret::Headers) && mix.body.len() <= mix.limit;
    if let Some(third) = read.part(2) {
        let kind = third.content_type().unwrap();
        let whole = kind.ctype() == "message" && kind.subtype() == Some("rfc822");
        let raw = read.raw(2);
        if whole {
            assert!(may_be_whole);
            assert!(raw.starts_with(&mix.body) && raw[mix.body.len()..].iter().all(u8::is_ascii_whitespace));
            assert!(matches!(third.body, PartType::Message(_)));
            assert!(mix.body.is_ascii() && read.encoding(2) == "7bit");
        } else {
            assert_eq!((kind.ctype(), kind.subtype()), ("text", Some("rfc822-headers")));
            assert!(
                raw.is_ascii()
                    && (mix.body.is_ascii() || read.encoding(2) == "base64" || read.encoding(2) == "7bit")
            );
            assert!(mix.body.starts_with(third.contents().trim_ascii_end()) || mix.requiretls);
        }
        assert!(!mix.requiretls || !String::from_utf8_lossy(raw).contains("Subject"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_foreign_parser_finds_what_the_record_says(mix in mix()) {
        match notice(&mix) {
            Some(bytes) => check(&mix, &bytes),
            None => prop_assert!(mix.recipients.iter().all(|mixed| expected(mixed).is_none())),
        }
    }
}
