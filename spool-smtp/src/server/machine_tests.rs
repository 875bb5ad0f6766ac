//! The ingress machine, command by command and byte by byte, without a socket.

use super::*;
use crate::server::BareNewline;
use proptest::prelude::*;
use spool_core::{
    BodyKind, DomainPattern, Envelope, MAX_SECTIONS, ManualClock, Notify, Ret, Timestamp, TlsSession,
};
use std::time::Duration;

/// What happened to one machine, the intake's part played by `answers`.
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
    loop {
        match machine.advance(&mut input) {
            Next::Read => break,
            Next::Flush => {}
            Next::Authenticate(_) => {
                machine.authenticated(crate::server::Verdict::Refused);
                continue;
            }
            Next::Admit(_) => {
                machine.admitted(answers.admit.clone().map_or(Ok(()), Err));
                continue;
            }
            Next::Accept(mail) => {
                let before = machine.replies().len();
                assert!(
                    matches!(machine.advance(&mut input), Next::Flush),
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
fn exactly_what_is_honoured_is_announced() {
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
fn relaying_needs_leave() {
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
fn the_parameters_of_dsn_reach_the_envelope_and_only_after_ehlo() {
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
        (
            AddError::Busy {
                retry_after: Duration::ZERO,
            },
            "451 4.3.2",
            false,
        ),
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
fn the_intake_is_asked_again_at_data() {
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
fn sizes_are_kept_to() {
    let small = ServerConfig {
        message_size: 10,
        ..config()
    };
    let run = |input: &str| play_chunks(small.clone(), "::1", &Answers::default(), [input.as_bytes()]);
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=10\r\n")
            .last()
            .starts_with("250")
    );
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=11\r\n")
            .last()
            .starts_with("552 5.3.4")
    );
    assert!(
        run("EHLO a\r\nMAIL FROM:<> SIZE=99999999999999999999\r\n")
            .last()
            .starts_with("552 5.3.4")
    );
    assert_eq!(run(&format!("{OPEN}DATA\r\n12345678\r\n.\r\n")).mails.len(), 1);
    let over = run(&format!("{OPEN}DATA\r\n123456789\r\n.\r\nNOOP\r\n"));
    assert_eq!(over.codes(), ["220", "250", "250", "250", "354", "552", "250"]);
    assert!(over.mails.is_empty() && !over.closed);
}

#[test]
fn recipients_are_limited() {
    let two = ServerConfig {
        recipients: 2,
        ..config()
    };
    let input = format!("{OPEN}RCPT TO:<2@d.org>\r\nRCPT TO:<3@d.org>\r\nDATA\r\n.\r\n");
    let played = play_chunks(two, "::1", &Answers::default(), [input.as_bytes()]);
    assert_eq!(
        played.codes(),
        ["220", "250", "250", "250", "250", "452", "354", "250"]
    );
    assert_eq!(played.mails[0].envelope.recipients.len(), 2);
}

#[test]
fn recipients_of_more_domains_than_one_add_takes_are_for_another_transaction() {
    let many = ServerConfig {
        recipients: 20_000,
        ..config()
    };
    let mut input = "EHLO a\r\nMAIL FROM:<>\r\n".to_owned();
    for number in 0..=MAX_SECTIONS {
        input += &format!("RCPT TO:<a@d{number}.org>\r\n");
    }
    input += "RCPT TO:<b@D7.org>\r\nDATA\r\n.\r\n";
    let played = play_chunks(many, "::1", &Answers::default(), [input.as_bytes()]);
    let codes = played.codes();
    assert_eq!(codes[codes.len() - 4..], ["452", "250", "354", "250"]);
    assert!(codes[3..codes.len() - 4].iter().all(|code| *code == "250"));
    assert_eq!(played.mails[0].envelope.recipients.len(), MAX_SECTIONS + 1);
}

#[test]
fn errors_are_limited() {
    let three = ServerConfig {
        errors_per_session: 3,
        ..config()
    };
    let input = "NOOP\r\nX\r\nNOOP\r\nX\r\nX\r\nNOOP\r\n";
    let played = play_chunks(three, "::1", &Answers::default(), [input.as_bytes()]);
    assert_eq!(played.codes(), ["220", "250", "500", "250", "500", "500", "421"]);
    assert!(played.last().starts_with("421 4.7.0") && played.closed);
}

#[test]
fn loops_are_cut() {
    let received = |count: usize| {
        format!(
            "{OPEN}DATA\r\n{}\r\nReceived: body\r\n.\r\n",
            "received: x\r\n".repeat(count)
        )
    };
    assert_eq!(play(&received(50)).mails.len(), 1);
    let looped = play(&received(51));
    assert!(looped.last().starts_with("554 5.4.6") && looped.mails.is_empty());
}

#[test]
fn long_lines_are_skipped() {
    let played = play(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(8 << 10)));
    assert_eq!(played.codes(), ["220", "500", "250"]);
    let fits = play(&format!("NOOP {}\r\n", "x".repeat((8 << 10) - 7)));
    assert_eq!(fits.codes(), ["220", "250"]);
}

#[test]
fn what_smells_of_smuggling_ends_the_session() {
    for input in ["NOOP\n", "NOOP\rx\r\n", "NO\0OP\r\n", "POST / HTTP/1.1\r\n"] {
        let played = play(&format!("{input}QUIT\r\n"));
        assert_eq!(played.codes(), ["220", "500"], "{input:?}");
        assert!(played.closed);
    }
    for sequence in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n"] {
        let input = format!(
            "{OPEN}DATA\r\na{sequence}MAIL FROM:<evil@x.org>\r\nRCPT TO:<v@x.org>\r\nDATA\r\nb\r\n.\r\nNOOP\r\n"
        );
        let played = play(&input);
        assert_eq!(
            played.codes(),
            ["220", "250", "250", "250", "354", "554"],
            "{sequence:?}"
        );
        assert!(played.mails.is_empty() && played.closed);
        let normalize = ServerConfig {
            bare_newline: BareNewline::Normalize,
            ..config()
        };
        let played = play_chunks(normalize, "::1", &Answers::default(), [input.as_bytes()]);
        assert!(played.mails.len() <= 1, "{sequence:?}");
        for mail in &played.mails {
            assert_eq!(mail.envelope.reverse_path.as_str(), "a@b.org");
        }
    }
}

#[test]
fn stopping_lets_a_transaction_finish() {
    let mut idle = machine(config(), "::1");
    let mut played = Played::default();
    idle.stop();
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
    busy.stop();
    feed(&mut busy, b"", &Answers::default(), &mut played);
    assert!(!played.closed);
    feed(&mut busy, b"\r\n.\r\nNOOP\r\n", &Answers::default(), &mut played);
    assert_eq!(played.mails.len(), 1);
    assert!(played.replies.contains("Queued") && played.last().starts_with("421 4.3.2") && played.closed);
}

#[test]
fn replies_held_back_are_bounded() {
    // `feed` checks the bound after each step.
    let played = play(&"HELP\r\n".repeat(5000));
    assert_eq!(played.codes().len(), 5001);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        "EHLO a\r\n",
        "MAIL FROM:<a@b.org>\r\n",
        "RCPT TO:<c@d.org>\r\n",
        "DATA\r\n",
        "BDAT 3\r\n",
        "BDAT 2 LAST\r\n",
        "BDAT 0\r\n",
        "text\r\n..\r\n",
        "\r\n.\r\n",
        "RSET\r\n",
        "\r",
        "\n",
        "\0",
        "x",
        "QUIT\r\n",
    ]);
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn chunking_changes_nothing(tail in pieces(), open in any::<bool>(), size in 1_usize..20, normalize in any::<bool>()) {
        let bare_newline = if normalize { BareNewline::Normalize } else { BareNewline::Reject };
        let config = ServerConfig { bare_newline, ..config() };
        let input = [if open { OPEN.as_bytes() } else { b"" }, &tail].concat();
        let answers = Answers::default();
        let whole = play_chunks(config.clone(), "::1", &answers, [input.as_slice()]);
        let parts = play_chunks(config, "::1", &answers, input.chunks(size));
        prop_assert_eq!(&whole.replies, &parts.replies);
        prop_assert_eq!(whole.closed, parts.closed);
        let bodies = |played: &Played| -> Vec<_> {
            // The flow in the trace header is drawn anew each time.
            played.mails.iter().map(|mail| (mail.envelope.clone(), mail.body.slice(110..))).collect()
        };
        prop_assert_eq!(bodies(&whole), bodies(&parts));
    }

    #[test]
    fn any_bytes_get_well_formed_replies(
        input in prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), pieces()],
        size in 1_usize..50,
    ) {
        let played = play_chunks(config(), "::1", &Answers::default(), input.chunks(size));
        prop_assert!(played.replies.ends_with("\r\n"));
        for line in played.replies.trim_end().split("\r\n") {
            let (code, text) = line.split_at(3);
            prop_assert!(code.bytes().all(|b| b.is_ascii_digit()) && text.starts_with([' ', '-']), "{line:?}");
            prop_assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
        }
    }
}

#[test]
fn stopping_waits_for_a_transaction_whose_text_is_still_to_come() {
    let mut machine = machine(config(), "::1");
    let mut played = Played::default();
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    machine.stop();
    feed(
        &mut machine,
        b"RCPT TO:<e@d.org>\r\nDATA\r\n.\r\n",
        &Answers::default(),
        &mut played,
    );
    assert_eq!(played.mails.len(), 1);
    assert!(played.last().starts_with("421 4.3.2") && played.closed);
}

/// A machine that offers STARTTLS, given the chunks one after the other.
fn play_tls<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Played {
    let mut machine = machine(config(), "127.0.0.1");
    machine.offer_tls();
    let mut played = Played::default();
    for chunk in chunks {
        feed(&mut machine, chunk, &Answers::default(), &mut played);
    }
    played
}

#[test]
fn starttls_is_offered_in_plaintext_only() {
    let played = play_tls([&b"EHLO c\r\nSTARTTLS\r\n"[..], b"EHLO c\r\nSTARTTLS\r\nNOOP\r\n"]);
    assert_eq!(played.codes(), ["220", "250", "220", "250", "503", "250"]);
    assert_eq!(played.replies.matches("250-STARTTLS\r\n").count(), 1);
    assert_eq!(played.handshakes, 1);
}

#[test]
fn what_was_said_in_plaintext_is_forgotten_under_tls() {
    let open = format!("{OPEN}STARTTLS\r\n");
    for command in ["MAIL FROM:<a@b.org>\r\n", "RCPT TO:<a@b.org>\r\n", "DATA\r\n"] {
        let played = play_tls([open.as_bytes(), command.as_bytes()]);
        assert!(played.last().starts_with("503"), "{command}: {}", played.last());
        assert!(played.mails.is_empty());
    }
    let data = format!("{OPEN}DATA\r\nx\r\n.\r\n");
    let played = play_tls([&b"EHLO plain.example\r\nSTARTTLS\r\n"[..], data.as_bytes()]);
    let mail = &played.mails[0];
    assert_eq!(mail.source.tls.as_ref(), Some(&TLS));
    let body = std::str::from_utf8(&mail.body).unwrap();
    assert!(
        body.starts_with("Received: from c.example ([127.0.0.1]) by mx.example with ESMTPS\r\n\tid "),
        "{body}"
    );
    assert!(body.contains("tls TLS_AES_128_GCM_SHA256") && !body.contains("plain.example"));
}

#[test]
fn nothing_that_came_behind_starttls_in_plaintext_is_obeyed() {
    for injected in ["\r", "\n", "N", "NOOP\r\n", "\u{16}\u{3}\u{1}", OPEN, "QUIT\r\n"] {
        let input = format!("EHLO c\r\nSTARTTLS\r\n{injected}");
        let played = play_tls([input.as_bytes(), b"NOOP\r\n"]);
        assert_eq!(played.codes(), ["220", "250", "554"], "{injected:?}");
        assert!(played.closed && played.handshakes == 0);
    }
}

#[test]
fn errors_in_plaintext_count_under_tls() {
    let mut machine = machine(
        ServerConfig {
            errors_per_session: 3,
            ..config()
        },
        "::1",
    );
    machine.offer_tls();
    let mut played = Played::default();
    for chunk in ["X\r\nX\r\nSTARTTLS\r\n", "X\r\n"] {
        feed(&mut machine, chunk.as_bytes(), &Answers::default(), &mut played);
    }
    assert_eq!(played.codes(), ["220", "500", "500", "220", "500", "421"]);
    assert!(played.closed);
}

#[test]
fn a_service_that_stops_begins_no_handshake() {
    let mut machine = machine(config(), "::1");
    machine.offer_tls();
    let mut played = Played::default();
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    machine.stop();
    feed(&mut machine, b"STARTTLS\r\n", &Answers::default(), &mut played);
    assert!(played.last().starts_with("421 4.3.2") && played.closed && played.handshakes == 0);
}
