//! Notices are read back by a parser from other hands (mail-parser) and compared with the record of their message, field by field.

use super::super::decision::{Decision, OnFailure, Terms, decide};
use super::super::record::Notices;
use super::super::write::ascii;
use super::*;
use crate::attempt::{Attempt, AttemptReport, RefusedRecipient, Stage};
use crate::attempt::{AttemptResult, RecipientIndex};
use crate::attempts::Attempts;
use crate::envelope::Ret;
use crate::message::Message;
use crate::message::{FailedRecipient, MessageState, RouteOrigin, Section, Status};
use crate::related::Related;
use crate::reply::Reply;
use crate::retry::RetryPolicy;
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const T0: Timestamp = Timestamp(1_795_491_552_000);
const HOUR: Duration = Duration::from_secs(3600);

/// What is to be true of one recipient of a mix.
#[derive(Debug, Clone)]
struct Mixed {
    address: &'static str,
    notify: Option<Notify>,
    orcpt: Option<&'static str>,
    fate: Fate,
    reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Refused for good.
    Refused,
    /// Deferred until no interval was left.
    Expired,
    /// Deferred.
    Waiting,
    /// Taken by a hop without DSN.
    Taken,
}

#[derive(Debug, Clone)]
struct Mix {
    recipients: Vec<Mixed>,
    ret: Option<Ret>,
    envid: Option<String>,
    requiretls: bool,
    body: Vec<u8>,
    limit: usize,
}

fn id(number: u128) -> MessageId {
    MessageId::from_u128(number)
}

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

/// The message of a mix after its round.
fn message(mix: &Mix) -> Message {
    let to = |mixed: &Mixed| Recipient {
        address: mixed.address.parse().unwrap(),
        notify: mixed.notify,
        orcpt: mixed.orcpt.map(str::to_owned),
    };
    let mut envelope = Envelope::of(ReversePath::parse("sender+1=x@example.org").unwrap(), []);
    envelope.recipients = mix.recipients.iter().map(to).collect();
    envelope.parameters.ret = mix.ret;
    envelope.parameters.envid.clone_from(&mix.envid);
    envelope.parameters.requiretls = mix.requiretls;
    let section = Section {
        envelope,
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    };
    let mut state = MessageState::new(&section, Status::SendAt(T0), T0);
    let with = |fates: &'static [Fate]| {
        let all = (0_u32..).zip(&mix.recipients);
        all.filter(|(_, mixed)| fates.contains(&mixed.fate))
    };
    let taken = with(&[Fate::Taken]).next().is_some();
    let result = match taken {
        true => AttemptResult::Accepted(Reply::new(250, "2.6.0 taken")),
        false => AttemptResult::AllRefused,
    };
    let mut report = AttemptReport::new(result);
    report.peer = Some("mx1.example.net:25".parse().unwrap());
    let refused = with(&[Fate::Refused, Fate::Expired, Fate::Waiting]);
    report.refused = refused
        .map(|(recipient, mixed)| RefusedRecipient {
            recipient,
            reply: mixed.reply.clone(),
        })
        .collect();
    state.attempts = Attempts::of(
        vec![Attempt {
            at: T0.after(HOUR),
            duration_ms: 2000,
            report,
        }],
        0,
    );
    state.remaining = with(&[Fate::Waiting]).map(|(recipient, _)| recipient).collect();
    let failed = with(&[Fate::Refused, Fate::Expired]).map(|(recipient, mixed)| FailedRecipient {
        recipient,
        reply: (mixed.fate == Fate::Refused).then(|| mixed.reply.clone()),
        reason: match mixed.fate {
            Fate::Refused => mixed.reply.to_string(),
            Fate::Expired | Fate::Waiting | Fate::Taken => "no retry interval is left".to_owned(),
        },
    });
    state.failed = failed.collect();
    Message {
        id: id(7),
        parent: None,
        related: Related::from(vec![]),
        flows: vec![],
        spooled_at: T0,
        next_hops: section.next_hops,
        origin: section.origin,
        envelope: Arc::new(section.envelope),
        body_size: mix.body.len() as u64,
        state,
    }
}

fn terms() -> Terms {
    Terms {
        on_failure: OnFailure::Bounce,
        delay_warning_after: Some(HOUR),
    }
}

fn returned(limit: usize) -> Returned<'static> {
    Returned {
        id: id(9),
        at: T0.after(2 * HOUR),
        host: "mta.example.org",
        from: "MAILER-DAEMON@mta.example.org",
        size_limit: limit,
    }
}

fn taken(mix: &Mix) -> Vec<RecipientIndex> {
    let all = (0..).zip(&mix.recipients);
    all.filter(|(_, mixed)| mixed.fate == Fate::Taken)
        .map(|(index, _)| index)
        .collect()
}

fn notice(mix: &Mix) -> Option<Vec<u8>> {
    let message = message(mix);
    let decision = decide(&message, &taken(mix), &terms(), T0.after(2 * HOUR));
    let report = Report::new(&message, &decision, &mix.body, false);
    decision
        .has_notice()
        .then(|| build(&report, &returned(mix.limit)).unwrap().1)
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

/// The fields of one block of a delivery status, unfolded, as mail-parser reads them.
fn fields(block: &str) -> Vec<(String, String)> {
    let parsed = MessageParser::new().parse_headers(block.as_bytes()).unwrap();
    let raw = |header: &mail_parser::Header<'_>| {
        let value = &block[header.offset_start as usize..header.offset_end as usize];
        let value = value.replace("\r\n ", " ").trim().to_owned();
        (header.name.as_str().to_owned(), value)
    };
    parsed.headers().iter().map(raw).collect()
}

fn get<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut named = fields.iter().filter(|(other, _)| other == name);
    let found = named.next().map(|(_, value)| value.as_str());
    assert!(named.next().is_none(), "{name} stands twice");
    found
}

/// `text` as it stands in a field: escaped, cut, runs of blanks made one.
fn shown(text: &str, most: usize) -> String {
    let text = ascii(text, most);
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn check(mix: &Mix, bytes: &[u8]) {
    let notice = MessageParser::default().parse(bytes).unwrap();
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
    let PartType::Multipart(parts) = &notice.parts[0].body else {
        panic!("{:?}", notice.parts[0].body);
    };
    let part = |nth: usize| parts.get(nth).map(|part| &notice.parts[*part as usize]);
    let content = |nth: usize| {
        let part = part(nth).unwrap();
        std::str::from_utf8(&bytes[part.offset_body as usize..part.offset_end as usize]).map(str::to_owned)
    };
    let encoding = |nth: usize| {
        part(nth)
            .unwrap()
            .content_transfer_encoding()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(parts.len() == 2 || parts.len() == 3, "{}", parts.len());
    assert_eq!((encoding(0), encoding(1)), ("7bit".to_owned(), "7bit".to_owned()));
    // The delivery status, block by block.
    let status = content(1).unwrap();
    assert!(status.is_ascii());
    let blocks: Vec<_> = status.trim_end().split("\r\n\r\n").map(fields).collect();
    let (of_message, of_recipients) = blocks.split_first().unwrap();
    assert_eq!(get(of_message, "Reporting-MTA"), Some("dns; mta.example.org"));
    assert_eq!(get(of_message, "Arrival-Date"), Some(T0.rfc5322().as_str()));
    // As it was given, but for the blanks at its ends, which a reader of fields cannot tell from those around a value.
    let envid = mix.envid.as_deref().map(str::trim);
    assert_eq!(get(of_message, "Original-Envelope-Id"), envid);
    // Failures first, then delays, then what was relayed.
    let mut told: Vec<(&str, &Mixed)> = Vec::new();
    for action in ["failed", "delayed", "relayed"] {
        let all = mix
            .recipients
            .iter()
            .filter(|mixed| expected(mixed) == Some(action));
        told.extend(all.map(|mixed| (action, mixed)));
    }
    assert_eq!(of_recipients.len(), told.len());
    for (fields, (action, mixed)) in of_recipients.iter().zip(&told) {
        let address = match mixed.address.is_ascii() {
            true => format!("rfc822; {}", mixed.address),
            false => "utf-8; \\x{FC}\\x{2B}a\\x{3D}b@example.net".to_owned(),
        };
        assert_eq!(get(fields, "Final-Recipient"), Some(address.as_str()));
        let orcpt = mixed.orcpt.map(|orcpt| orcpt.replacen(';', "; ", 1));
        assert_eq!(get(fields, "Original-Recipient"), orcpt.as_deref());
        assert_eq!(get(fields, "Action"), Some(*action));
        let class = match *action {
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
        assert_eq!(get(fields, "Will-Retry-Until").is_some(), *action == "delayed");
    }
    // The part for people names each of them.
    let text = content(0).unwrap();
    for (_, mixed) in &told {
        assert!(
            text.contains(&format!("<{}>\r\n    ", ascii(mixed.address, 800))),
            "{text}"
        );
    }
    // The original.
    let failed = told.iter().any(|(action, _)| *action == "failed");
    let may_be_whole =
        failed && !mix.requiretls && mix.ret != Some(Ret::Headers) && mix.body.len() <= mix.limit;
    if let Some(third) = part(2) {
        let kind = third.content_type().unwrap();
        let whole = kind.ctype() == "message" && kind.subtype() == Some("rfc822");
        let raw = &bytes[third.offset_body as usize..third.offset_end as usize];
        if whole {
            assert!(may_be_whole);
            assert!(raw.starts_with(&mix.body) && raw[mix.body.len()..].iter().all(u8::is_ascii_whitespace));
            assert!(matches!(third.body, PartType::Message(_)));
            assert!(mix.body.is_ascii() && encoding(2) == "7bit");
        } else {
            assert_eq!((kind.ctype(), kind.subtype()), ("text", Some("rfc822-headers")));
            assert!(
                raw.is_ascii() && (mix.body.is_ascii() || encoding(2) == "base64" || encoding(2) == "7bit")
            );
            assert!(mix.body.starts_with(third.contents().trim_ascii_end()) || mix.requiretls);
        }
        assert!(!mix.requiretls || !String::from_utf8_lossy(raw).contains("Subject"));
    }
    // No line is too long, and none is ended by anything but CRLF.
    for line in bytes.split(|byte| *byte == b'\n') {
        assert!(line.len() <= 999 && (line.is_empty() || line.ends_with(b"\r")));
        assert!(!line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r'));
    }
    assert!(bytes.is_ascii());
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

fn plain(fate: Fate, reply: &str) -> Mix {
    Mix {
        recipients: vec![Mixed {
            address: "a@example.net",
            notify: None,
            orcpt: None,
            fate,
            reply: Reply::new(550, reply),
        }],
        ret: None,
        envid: None,
        requiretls: false,
        body: b"Message-ID: <m@example.org>\r\nSubject: hi\r\n\r\nHello\r\n".to_vec(),
        limit: 50_000,
    }
}

#[test]
fn a_bounce_looks_as_documented() {
    let bytes = notice(&plain(Fate::Refused, "5.1.1 no such user")).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    let page = include_str!("../../../docs/bounces.md");
    assert!(
        page.contains(&format!("```text\n{text}```\n")),
        "not in docs/bounces.md:\n{text}"
    );
}

#[test]
fn a_message_without_a_sender_gets_no_notice() {
    let mix = plain(Fate::Refused, "no");
    let mut message = message(&mix);
    Arc::make_mut(&mut message.envelope).reverse_path = ReversePath::Null;
    let decision = Decision {
        failed: vec![0],
        ..Decision::default()
    };
    let report = Report::new(&message, &decision, &mix.body, false);
    assert!(build(&report, &returned(1000)).is_none());
}

#[test]
fn a_notice_asks_for_no_notice_and_needs_no_smtputf8() {
    let mut mix = plain(Fate::Refused, "no");
    mix.body = "Subject: \u{fc}\r\n\r\n\u{fc}\r\n".into();
    let mut message = message(&mix);
    let envelope = Arc::make_mut(&mut message.envelope);
    envelope.reverse_path = ReversePath::parse("s@b\u{fc}cher.example").unwrap();
    envelope.parameters.smtputf8 = true;
    message.state.notices = Notices::default();
    let decision = decide(&message, &[], &terms(), T0);
    let report = Report::new(&message, &decision, &mix.body, false);
    let (envelope, bytes) = build(&report, &returned(50_000)).unwrap();
    assert!(bytes.is_ascii() && envelope.reverse_path.is_null() && !envelope.parameters.smtputf8);
    assert_eq!(envelope.recipients[0].notify, Some(Notify::default()));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("To: <s@xn--bcher-kva.example>\r\n"), "{text}");
    assert!(
        text.contains("X-Spool-Note: only the headers are returned: they hold other characters"),
        "{text}"
    );
}

#[test]
fn a_notice_about_an_8_bit_message_is_7_bit() {
    let mut mix = plain(Fate::Refused, "no");
    mix.body = "Subject: hi\r\n\r\ngr\u{fc}n\r\n".into();
    let message = message(&mix);
    let decision = decide(&message, &[], &terms(), T0);
    let report = Report::new(&message, &decision, &mix.body, false);
    let (envelope, bytes) = build(&report, &returned(50_000)).unwrap();
    assert_eq!(envelope.parameters.body, BodyKind::SevenBit);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_ascii() && !text.contains("8bit"), "{text}");
    assert!(
        text.contains("\r\nContent-Type: text/rfc822-headers; charset=us-ascii\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\n\r\nSubject: hi\r\n\r\n--=_"), "{text}");
    let unfolded = text.replace("\r\n ", " ");
    assert!(
        unfolded.contains(
            "X-Spool-Note: only the headers are returned: the body is left out because it is 8-bit"
        ),
        "{text}"
    );
}

#[test]
fn blanks_in_addresses_and_identifiers_stay_as_they_are() {
    let mut mix = plain(Fate::Refused, "no");
    mix.envid = Some("a   b ".to_owned());
    mix.recipients[0].address = "\"a  b\"@dest.test";
    mix.recipients[0].orcpt = Some("rfc822;\"c  d\"@dest.test");
    let text = String::from_utf8(notice(&mix).unwrap()).unwrap();
    for line in [
        "X-Failed-Recipients: \"a  b\"@dest.test",
        "<\"a  b\"@dest.test>",
        "Original-Envelope-Id: a   b ",
        "Original-Recipient: rfc822; \"c  d\"@dest.test",
        "Final-Recipient: rfc822; \"a  b\"@dest.test",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
    }
}

#[test]
fn a_refusal_of_our_own_is_not_attributed_to_a_peer() {
    let mix = plain(Fate::Refused, "5.6.3 the next hop does not offer 8BITMIME");
    for (stage, ours) in [(Stage::Route, true), (Stage::Mail, false)] {
        let mut message = message(&mix);
        let reply = mix.recipients[0].reply.clone();
        let mut report = AttemptReport::new(AttemptResult::Refused { stage, reply });
        report.peer = Some("mx1.example.net:25".parse().unwrap());
        let attempt = Attempt {
            at: T0,
            duration_ms: 1,
            report,
        };
        message.state.attempts = Attempts::of(vec![attempt], 0);
        let decision = decide(&message, &[], &terms(), T0);
        let report = Report::new(&message, &decision, &mix.body, false);
        let text = String::from_utf8(build(&report, &returned(50_000)).unwrap().1).unwrap();
        let text = text.replace("\r\n    ", " ").replace("\r\n ", " ");
        let has = |what: &str| text.contains(what);
        assert!(has("Status: 5.6.3\r\n"), "{text}");
        assert_eq!(
            has("not sent to mx1.example.net: 550 5.6.3 the next hop"),
            ours,
            "{text}"
        );
        assert_eq!(
            has("Diagnostic-Code: x-spool; 550 5.6.3 the next hop"),
            ours,
            "{text}"
        );
        assert_eq!(has("host mx1.example.net said: 550 5.6.3"), !ours, "{text}");
        assert_eq!(has("Diagnostic-Code: smtp; 550 5.6.3"), !ours, "{text}");
        assert_eq!(has("Remote-MTA: "), !ours, "{text}");
    }
}

#[test]
fn a_notice_about_a_thousand_recipients_is_fast() {
    let one = plain(Fate::Refused, "5.1.1 no such user").recipients.remove(0);
    let mut mix = plain(Fate::Refused, "no");
    mix.recipients = vec![one; 10_000];
    let begun = std::time::Instant::now();
    let bytes = notice(&mix).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5) && bytes.len() < 10_000 * 400,
        "{}",
        bytes.len()
    );
}

/// A message with one recipient that was tried so often, once in each minute: the blocks of its delayed notice, or of the one that says that it
/// failed with `own`.
fn told_after(results: Vec<AttemptReport>, own: Option<Reply>) -> (Vec<(String, String)>, String) {
    let fate = if own.is_some() {
        Fate::Refused
    } else {
        Fate::Waiting
    };
    let mix = plain(fate, "");
    let mut message = message(&mix);
    if let Some(failed) = message.state.failed.first_mut() {
        failed.reply = own;
    }
    let attempts = (1..).zip(results).map(|(minute, report)| Attempt {
        at: T0.after(minute * Duration::from_secs(60)),
        duration_ms: 0,
        report,
    });
    message.state.attempts = Attempts::of(attempts.collect(), 0);
    let decision = decide(&message, &[], &terms(), T0.after(2 * HOUR));
    let report = Report::new(&message, &decision, &mix.body, false);
    let block = String::from_utf8(delivery_status(&report, returned(1000).host)).unwrap();
    let people = explanation(&report, returned(1000).host, None);
    (
        fields(block.split("\r\n\r\n").nth(1).unwrap()),
        String::from_utf8(people).unwrap().replace("\r\n    ", " "),
    )
}

fn host(number: u8, result: AttemptResult, refused: Option<Reply>) -> AttemptReport {
    let mut report = AttemptReport::new(result);
    report.peer = Some(format!("mx{number}.example.net:25").parse().unwrap());
    let one = |reply| RefusedRecipient { recipient: 0, reply };
    report.refused = refused.map(one).into_iter().collect();
    report
}

#[test]
fn the_newest_attempt_is_reported() {
    let greylisted = || {
        host(
            1,
            AttemptResult::AllRefused,
            Some(Reply::new(450, "4.2.0 greylisted")),
        )
    };
    let mail = |code, text| AttemptResult::Refused {
        stage: Stage::Mail,
        reply: Reply::new(code, text),
    };
    let minute = |minute: u32| T0.after(minute * Duration::from_secs(60)).rfc5322();
    // A newer reply to the whole message.
    let results = vec![greylisted(), host(2, mail(451, "4.7.26 no SPF"), None)];
    let (told, people) = told_after(results, None);
    assert_eq!(get(&told, "Status"), Some("4.7.26"));
    assert_eq!(get(&told, "Diagnostic-Code"), Some("smtp; 451 4.7.26 no SPF"));
    assert_eq!(get(&told, "Remote-MTA"), Some("dns; mx2.example.net"));
    assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
    assert!(!people.contains("greylisted"), "{people}");
    // No reply.
    let (error, stage) = ("connection refused".to_owned(), Stage::Data);
    let broken = AttemptResult::Broken {
        stage,
        error: error.clone(),
        in_doubt: false,
    };
    for (result, status) in [
        (AttemptResult::NoConnection { error }, "4.4.1"),
        (broken, "4.4.2"),
    ] {
        let (told, people) = told_after(vec![greylisted(), host(2, result, None)], None);
        assert_eq!(get(&told, "Status"), Some(status));
        assert_eq!(get(&told, "Diagnostic-Code"), Some("x-spool; connection refused"));
        assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
        let words =
            "connection refused; in an earlier attempt: host mx1.example.net said: 450 4.2.0 greylisted";
        let people = people.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(people.contains(words), "{people}");
    }
    // Attempts after it failed were for others.
    let own = Reply::new(550, "5.1.1 no such user");
    let results = vec![
        greylisted(),
        host(1, AttemptResult::AllRefused, Some(own.clone())),
        host(2, mail(451, "4.7.26 no SPF"), None),
        host(3, AttemptResult::AllRefused, None),
    ];
    let (told, _) = told_after(results, Some(own));
    assert_eq!(get(&told, "Status"), Some("5.1.1"));
    assert_eq!(get(&told, "Remote-MTA"), Some("dns; mx1.example.net"));
    assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
}
