//! The ingress machine, command by command and byte by byte, without a socket.

#[path = "machine/property_tests.rs"]
mod properties;

#[path = "machine/starttls_tests.rs"]
mod starttls;

#[path = "machine/limits_tests.rs"]
mod limits;

use super::*;
use crate::server::BareNewline;
use proptest::prelude::*;
use spool_core::{
    AddError, BodyKind, DomainPattern, Envelope, MAX_SECTIONS, ManualClock, MessageId, Notify, Ret,
    Timestamp, TlsSession,
};

/// The history of a machine with an intake that gives `answers`.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) replies: String,
    pub(super) mails: Vec<Mail>,
    handshakes: usize,
    pub(super) closed: bool,
}

const TLS: TlsSession = TlsSession {
    version: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
};

impl Played {
    pub(super) fn codes(&self) -> Vec<&str> {
        self.replies
            .lines()
            .filter(|line| line.as_bytes()[3] == b' ')
            .map(|line| line.split(' ').next().unwrap())
            .collect()
    }

    pub(super) fn last(&self) -> &str {
        self.replies.lines().last().unwrap()
    }
}

#[derive(Clone, Default)]
pub(super) struct Answers {
    pub(super) admit: Option<AddError>,
    pub(super) accept: Option<AddError>,
}

pub(super) fn config() -> ServerConfig {
    ServerConfig {
        hostname: "mx.example".into(),
        clock: Arc::new(ManualClock::new(Timestamp(1_795_491_552_042))),
        ..ServerConfig::default()
    }
}

pub(super) fn machine(config: ServerConfig, client: &str) -> Machine {
    Machine::new(Arc::new(config), client.parse().unwrap(), FlowId::from_u128(1))
}

pub(super) fn feed(machine: &mut Machine, input: &[u8], answers: &Answers, played: &mut Played) {
    let mut input = input;
    let admit = |_| answers.admit.clone().map_or(Ok(()), Err);
    loop {
        match machine.advance(&mut input, &admit) {
            Next::Read => break,
            Next::Flush => {}
            Next::Authenticate(_) => {
                machine.authenticated(crate::server::auth::LoginResult::Refused);
                continue;
            }
            Next::Accept(mail) => {
                let before = machine.replies().len();
                assert!(
                    matches!(machine.advance(&mut input, &admit), Next::Flush),
                    "no reply before the answer"
                );
                assert_eq!(machine.replies().len(), before);
                let ids = vec![MessageId::from_u128(7), MessageId::from_u128(8)];
                if answers.accept.is_none() {
                    played.mails.push(*mail);
                }
                machine.accepted(answers.accept.clone().map_or(Ok(ids), Err));
                continue;
            }
            Next::StartTls => {
                played.handshakes += 1;
                played
                    .replies
                    .push_str(std::str::from_utf8(machine.replies()).unwrap());
                machine.replies_sent();
                machine.tls_started(TLS);
                continue;
            }
            Next::Readdress(_) => {
                machine.readdressed(true);
                continue;
            }
            Next::Close => {
                played.closed = true;
                break;
            }
        }
        assert!(machine.replies().len() < REPLIES_HELD + 1024);
        played
            .replies
            .push_str(std::str::from_utf8(machine.replies()).unwrap());
        machine.replies_sent();
    }
    played
        .replies
        .push_str(std::str::from_utf8(machine.replies()).unwrap());
    machine.replies_sent();
}

pub(super) fn play_chunks<'a>(
    config: ServerConfig,
    client: &str,
    answers: &Answers,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Played {
    let mut machine = machine(config, client);
    let mut played = Played::default();
    feed(&mut machine, b"", answers, &mut played);
    for chunk in chunks {
        feed(&mut machine, chunk, answers, &mut played);
    }
    played
}

pub(super) fn play(input: &str) -> Played {
    play_chunks(config(), "127.0.0.1", &Answers::default(), [input.as_bytes()])
}

pub(super) const OPEN: &str = "EHLO c.example\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n";

#[test]
fn a_mail_goes_through() {
    let played = play(&format!("{OPEN}DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"));
    assert_eq!(played.codes(), ["220", "250", "250", "250", "354", "250", "221"]);
    assert!(
        played
            .replies
            .contains("250 2.0.0 Queued as 00000000000000000000000007\r\n")
    );
    assert!(played.closed);
    let mail = &played.mails[0];
    assert_eq!(mail.envelope.reverse_path.as_str(), "a@b.org");
    assert_eq!(mail.envelope.recipients[0].address.as_str(), "c@d.org");
    assert_eq!(mail.flows[0], FlowId::from_u128(1));
    assert_eq!(
        std::str::from_utf8(&mail.body).unwrap(),
        format!(
            "Received: from c.example ([127.0.0.1]) by mx.example with ESMTP\r\n\
             \tid {}; Tue, 24 Nov 2026 03:39:12 +0000\r\nSubject: x\r\n\r\n.dot\r\n",
            mail.flows[1]
        )
    );
}

#[test]
fn only_implemented_extensions_are_announced() {
    let played = play("EHLO c\r\nHELO c\r\n");
    let expected = "220 mx.example ESMTP\r\n250-mx.example\r\n250-PIPELINING\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n\
                    250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n250-LIMITS RCPTMAX=1000\r\n250 ENHANCEDSTATUSCODES\r\n250 mx.example\r\n";
    assert_eq!(played.replies, expected);
}

#[test]
fn commands_have_an_order() {
    for (input, expected) in [
        ("MAIL FROM:<>\r\n", "503 5.5.1 Say EHLO"),
        ("EHLO a\r\nRCPT TO:<a@b>\r\n", "503 5.5.1 Say MAIL"),
        ("EHLO a\r\nDATA\r\n", "503 5.5.1 Say MAIL"),
        ("EHLO a\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", "503 5.5.1 MAIL was"),
        ("EHLO a\r\nMAIL FROM:<>\r\nDATA\r\n", "554 5.5.1"),
        ("EHLO a\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<a@b>\r\n", "503"),
        ("EHLO a\r\nMAIL FROM:<>\r\nEHLO a\r\nRCPT TO:<a@b>\r\n", "503"),
        (
            "EHLO a\r\nMAIL FROM:<>\r\nHELO a\r\nMAIL FROM:<>\r\n",
            "250 2.1.0",
        ),
        ("EHLO a\r\nMAIL FROM:<>\r\nNOOP\r\nRCPT TO:<a@b>\r\n", "250 2.1.5"),
        ("VRFY a\r\n", "252"),
        ("HELP\r\n", "214"),
        ("NOOP\r\n", "250 2.0.0"),
        ("STARTTLS\r\n", "502"),
        ("STARTTLS now\r\n", "501"),
    ] {
        let played = play(input);
        assert!(
            played.last().starts_with(expected),
            "{input:?}: {}",
            played.last()
        );
        assert!(!played.closed);
    }
}

#[test]
fn a_transaction_ends_with_its_message() {
    let played = play(&format!("{OPEN}DATA\r\n.\r\nRCPT TO:<c@d.org>\r\n"));
    assert!(played.last().starts_with("503"));
    let two = play(&format!(
        "{OPEN}DATA\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nDATA\r\nx\r\n.\r\n"
    ));
    assert_eq!(two.mails.len(), 2);
    assert!(two.mails[1].envelope.reverse_path.is_null());
    assert_eq!(
        two.mails[1].envelope.recipients[0].address.as_str(),
        "postmaster@mx.example"
    );
    assert_ne!(two.mails[0].flows[1], two.mails[1].flows[1]);
}

#[test]
fn relaying_needs_permission() {
    let mut config = config();
    config.relay.allow_domains = vec![DomainPattern::parse("ours.example").unwrap()];
    let input = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<x@else.example>\r\nRCPT TO:<x@OURS.example>\r\n\
                 RCPT TO:<x%ours.example@else.example>\r\nRCPT TO:<@ours.example:x@else.example>\r\n\
                 RCPT TO:<postmaster>\r\n";
    let outside = play_chunks(
        config.clone(),
        "192.0.2.1",
        &Answers::default(),
        [input.as_bytes()],
    );
    assert_eq!(
        outside.codes(),
        ["220", "250", "250", "550", "250", "550", "550", "250"]
    );
    let inside = play_chunks(config, "127.0.0.1", &Answers::default(), [input.as_bytes()]);
    assert!(!inside.codes().contains(&"550"));
}

#[test]
fn the_parameters_reach_the_envelope() {
    let played = play(
        "EHLO c\r\nMAIL FROM:<ü@b.org> SMTPUTF8 BODY=8BITMIME SIZE=5\r\nRCPT TO:<ö@d.org>\r\nDATA\r\n.\r\n",
    );
    let mail = &played.mails[0];
    assert!(mail.envelope.parameters.smtputf8);
    assert_eq!(mail.envelope.parameters.body, BodyKind::EightBitMime);
    assert!(std::str::from_utf8(&mail.body).unwrap().contains("with UTF8SMTP"));
    let without = play("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<ö@d.org>\r\n");
    assert!(without.last().starts_with("553 5.6.7"));
    let helo = play("HELO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n.\r\n");
    assert!(
        std::str::from_utf8(&helo.mails[0].body)
            .unwrap()
            .contains("with SMTP\r\n")
    );
}

#[test]
fn dsn_parameters_reach_the_envelope_after_ehlo_only() {
    let (mail, rcpt) = (
        "MAIL FROM:<a@b.org> RET=HDRS ENVID=q+2Bq",
        "NOTIFY=DELAY,FAILURE ORCPT=rfc822;o+2Bp@d.org",
    );
    let played = play(&format!(
        "EHLO c\r\n{mail}\r\nRCPT TO:<c@d.org> {rcpt}\r\nRCPT TO:<e@d.org>\r\nDATA\r\n.\r\n"
    ));
    let Envelope {
        recipients,
        parameters,
        ..
    } = &played.mails[0].envelope;
    assert_eq!(parameters.ret, Some(Ret::Headers));
    assert_eq!(parameters.envid.as_deref(), Some("q+q"));
    let notify = Notify {
        success: false,
        failure: true,
        delay: true,
    };
    assert_eq!(recipients[0].notify, Some(notify));
    assert_eq!(recipients[0].orcpt.as_deref(), Some("rfc822;o+p@d.org"));
    assert_eq!((recipients[1].notify, &recipients[1].orcpt), (None, &None));
    assert!(
        play(&format!("HELO c\r\n{mail}\r\n"))
            .last()
            .starts_with("555 5.5.4")
    );
    let without = play(&format!(
        "HELO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org> {rcpt}\r\n"
    ));
    assert!(without.last().starts_with("555 5.5.4"));
    let bad = play("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org> NOTIFY=NEVER,DELAY\r\n");
    assert!(bad.last().starts_with("501 5.5.4"));
}

#[test]
fn the_intake_decides() {
    let error = |text: &str| text.to_owned();
    for (refusal, expected, closes) in [
        (AddError::Full(error("secret")), "452 4.3.1", false),
        (AddError::Busy, "451 4.3.2", false),
        (AddError::Disk(error("secret")), "451 4.3.0", false),
        (AddError::Invalid(error("secret")), "554 5.6.0", false),
        (
            AddError::TooManyRecipients { count: 2, limit: 1 },
            "452 4.5.3",
            false,
        ),
        (AddError::Killed, "421 4.3.2", true),
    ] {
        let at_mail = Answers {
            admit: Some(refusal.clone()),
            accept: None,
        };
        let played = play_chunks(config(), "::1", &at_mail, [&b"EHLO a\r\nMAIL FROM:<>\r\n"[..]]);
        assert!(played.last().starts_with(expected), "{}", played.replies);
        assert_eq!(played.closed, closes);
        let at_end = Answers {
            admit: None,
            accept: Some(refusal),
        };
        let played = play_chunks(config(), "::1", &at_end, [OPEN.as_bytes(), b"DATA\r\n.\r\n"]);
        assert!(played.last().starts_with(expected), "{}", played.replies);
        assert_eq!(played.closed, closes);
        assert!(!played.replies.contains("Queued") && !played.replies.contains("secret"));
    }
}

#[test]
fn the_intake_decides_again_at_data() {
    let mut machine = machine(config(), "::1");
    let mut played = Played::default();
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    let full = Answers {
        admit: Some(AddError::Full(String::new())),
        accept: None,
    };
    feed(&mut machine, b"DATA\r\n", &full, &mut played);
    assert!(played.last().starts_with("452"));
    feed(
        &mut machine,
        b"MAIL FROM:<>\r\n",
        &Answers::default(),
        &mut played,
    );
    assert!(played.last().starts_with("250"));
}

#[test]
fn stopping_lets_a_transaction_finish() {
    let mut idle = machine(config(), "::1");
    let mut played = Played::default();
    idle.stopping = true;
    feed(&mut idle, b"NOOP\r\n", &Answers::default(), &mut played);
    assert!(played.last().starts_with("421 4.3.2") && played.closed);

    let mut busy = machine(config(), "::1");
    let mut played = Played::default();
    feed(
        &mut busy,
        format!("{OPEN}DATA\r\nhalf").as_bytes(),
        &Answers::default(),
        &mut played,
    );
    busy.stopping = true;
    feed(&mut busy, b"", &Answers::default(), &mut played);
    assert!(!played.closed);
    feed(&mut busy, b"\r\n.\r\nNOOP\r\n", &Answers::default(), &mut played);
    assert_eq!(played.mails.len(), 1);
    assert!(played.replies.contains("Queued") && played.last().starts_with("421 4.3.2") && played.closed);
}

#[test]
fn a_stop_waits_for_the_data_of_an_open_transaction() {
    let mut machine = machine(config(), "::1");
    let mut played = Played::default();
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    machine.stopping = true;
    feed(
        &mut machine,
        b"RCPT TO:<e@d.org>\r\nDATA\r\n.\r\n",
        &Answers::default(),
        &mut played,
    );
    assert_eq!(played.mails.len(), 1);
    assert!(played.last().starts_with("421 4.3.2") && played.closed);
}
