//! Single notices, and the messages that all tests of notices are about.

mod mixes;
mod newest;

use super::super::config::NoticeConfig;
use super::super::decision::{Decision, OnFailure, decide};
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

impl Mix {
    /// The recipients that have one of these fates.
    fn with(&self, fates: &'static [Fate]) -> impl Iterator<Item = (RecipientIndex, &Mixed)> {
        let all = (0..).zip(&self.recipients);
        all.filter(|(_, mixed)| fates.contains(&mixed.fate))
    }
}

/// The attempt that decided the fates of a mix.
fn attempt(mix: &Mix) -> Attempt {
    let result = match mix.with(&[Fate::Taken]).next() {
        Some(_) => AttemptResult::Accepted(Reply::new(250, "2.6.0 taken")),
        None => AttemptResult::AllRefused,
    };
    let mut report = AttemptReport::new(result);
    report.peer = Some("mx1.example.net:25".parse().unwrap());
    let refused = mix.with(&[Fate::Refused, Fate::Expired, Fate::Waiting]);
    report.refused = refused
        .map(|(recipient, mixed)| RefusedRecipient {
            recipient,
            reply: mixed.reply.clone(),
        })
        .collect();
    Attempt {
        at: T0.after(HOUR),
        duration_ms: 2000,
        report,
    }
}

fn failed(mix: &Mix) -> Vec<FailedRecipient> {
    let failed = mix.with(&[Fate::Refused, Fate::Expired]);
    let one = |(recipient, mixed): (_, &Mixed)| FailedRecipient {
        recipient,
        reply: (mixed.fate == Fate::Refused).then(|| mixed.reply.clone()),
        reason: match mixed.fate {
            Fate::Refused => mixed.reply.to_string(),
            Fate::Expired | Fate::Waiting | Fate::Taken => "no retry interval is left".to_owned(),
        },
    };
    failed.map(one).collect()
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
    state.attempts = Attempts::of(vec![attempt(mix)], 0);
    let waiting = mix.with(&[Fate::Waiting]);
    state.remaining = waiting.map(|(recipient, _)| recipient).collect();
    state.failed = failed(mix);
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

fn decided(message: &Message, relayed: &[RecipientIndex], now: Timestamp) -> Decision {
    decide(message, relayed, OnFailure::Bounce, Some(HOUR), now)
}

fn built(report: &Report<'_>, limit: usize) -> Option<(Envelope, Vec<u8>)> {
    let mut config = NoticeConfig::new("mta.example.org");
    config.size_limit = limit;
    build(report, &config, id(9), T0.after(2 * HOUR))
}

fn notice(mix: &Mix) -> Option<Vec<u8>> {
    let message = message(mix);
    let taken: Vec<_> = mix.with(&[Fate::Taken]).map(|(recipient, _)| recipient).collect();
    let decision = decided(&message, &taken, T0.after(2 * HOUR));
    let report = Report::new(&message, &decision, &mix.body, false);
    decision
        .has_notice()
        .then(|| built(&report, mix.limit).unwrap().1)
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

/// The notice about a message of which nothing was taken, and its envelope.
fn notice_of(message: &Message, body: &[u8]) -> (Envelope, String) {
    let decision = decided(message, &[], T0);
    let report = Report::new(message, &decision, body, false);
    let (envelope, bytes) = built(&report, 50_000).unwrap();
    (envelope, String::from_utf8(bytes).unwrap())
}

fn get<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut named = fields.iter().filter(|(other, _)| other == name);
    let found = named.next().map(|(_, value)| value.as_str());
    assert!(named.next().is_none(), "{name} stands twice");
    found
}

#[test]
fn a_bounce_looks_as_documented() {
    let bytes = notice(&plain(Fate::Refused, "5.1.1 no such user")).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    let page = include_str!("../../../../../docs/bounces.md");
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
    assert!(built(&report, 1000).is_none());
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
    let (envelope, text) = notice_of(&message, &mix.body);
    assert!(text.is_ascii() && envelope.reverse_path.is_null() && !envelope.parameters.smtputf8);
    assert_eq!(envelope.recipients[0].notify, Some(Notify::default()));
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
    let (envelope, text) = notice_of(&message, &mix.body);
    assert_eq!(envelope.parameters.body, crate::envelope::BodyKind::SevenBit);
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
        let (_, text) = notice_of(&message, &mix.body);
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
