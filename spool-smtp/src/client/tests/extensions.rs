//! Extensions are used if the peer offers them, and not otherwise.

use super::peer::Act::{self, Body, Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, SLOW_EHLO, peer};
use super::{attempt, code, config, deliver, job};
use crate::client::SmtpAgent;
use spool_core::{AttemptReport, BodyKind, MailParameters, Notify, Ret, ReversePath};
use std::sync::Arc;

#[tokio::test]
async fn helo_follows_a_refused_ehlo_and_commands_go_one_by_one_without_pipelining() {
    let script = [
        HELLO,
        Say(b"502 what\r\n"),
        Say(b"250 peer\r\n"),
        OK,
        OK,
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (report, seen) = attempt(&script).await;
    assert_eq!(code(&report.result), 250);
    assert!(seen.lines()[1].starts_with("HELO "), "{:?}", seen.lines());
    // A peer that refuses MAIL without PIPELINING never sees RCPT.
    let (_, seen) = attempt(&[HELLO, SLOW_EHLO, Say(b"451 later\r\n"), Close]).await;
    assert!(
        !seen.lines().iter().any(|line| line.starts_with("RCPT")),
        "{:?}",
        seen.lines()
    );
}

#[tokio::test]
async fn what_the_peer_cannot_take_is_not_sent() {
    let cases: [(&[u8], &str, u16); 3] = [
        ("ü\r\n".as_bytes(), "b@x", 554),
        (b"x\r\n", "\u{fc}@x", 553),
        (b"more than ten bytes\r\n", "b@x", 552),
    ];
    for (body, to, expected) in cases {
        let (hop, seen) = peer(&[&[HELLO, Say(b"250-peer\r\n250 SIZE 10\r\n")]]).await;
        let report = deliver(&SmtpAgent::new(config()), job(&[hop], &[to], body)).await;
        assert_eq!(code(&report.result), expected);
        assert_eq!(seen.lines().len(), 1, "{:?}", seen.lines());
    }
}

/// The MAIL and RCPT that a peer with these extensions receives for a message submitted with SMTPUTF8, or the code of the refusal.
async fn with_smtputf8(offers: &'static [u8], to: &str, body: &str) -> Result<Vec<String>, u16> {
    let (hop, seen) = peer(&[&[HELLO, Say(offers), OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let mut job = job(&[hop], &[to], body.as_bytes());
    Arc::make_mut(&mut job.envelope).parameters.smtputf8 = true;
    let report = deliver(&SmtpAgent::new(config()), job).await;
    match code(&report.result) {
        250 => Ok(seen.lines()[1..3].to_vec()),
        code => Err(code),
    }
}

#[tokio::test]
async fn smtputf8_is_used_only_if_the_message_or_an_address_needs_it() {
    const WITHOUT: &[u8] = b"250-peer\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
    const WITH: &[u8] = b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
    let plain = "Subject: x\r\n\r\n\u{fc}\r\n";
    let eight_bit = "Subject: \u{fc}\r\n\r\nx\r\n";
    let lines = |mail: &str, to: &str| {
        Ok(vec![
            format!("MAIL FROM:<a@example.org>{mail}"),
            format!("RCPT TO:<{to}>"),
        ])
    };
    for offers in [WITHOUT, WITH] {
        let sent = with_smtputf8(offers, "r@b\u{fc}cher.example", plain).await;
        assert_eq!(sent, lines(" BODY=8BITMIME", "r@xn--bcher-kva.example"));
        let sent = with_smtputf8(offers, "r@X.example", "Subject: x\r\n\r\nx\r\n").await;
        assert_eq!(sent, lines("", "r@X.example"));
    }
    for (to, body) in [("r@x.example", eight_bit), ("\u{fc}@x.example", plain)] {
        assert_eq!(with_smtputf8(WITHOUT, to, body).await, Err(553), "{to}");
    }
    let utf8 = " BODY=8BITMIME SMTPUTF8";
    let sent = with_smtputf8(WITH, "r@b\u{fc}cher.example", eight_bit).await;
    assert_eq!(sent, lines(utf8, "r@b\u{fc}cher.example"));
    let sent = with_smtputf8(WITH, "\u{fc}@b\u{fc}cher.example", plain).await;
    assert_eq!(sent, lines(utf8, "\u{fc}@b\u{fc}cher.example"));
}

/// The refused recipients, by number and code.
fn refused(report: &AttemptReport) -> Vec<(u32, u16)> {
    let refused = report.refused.iter();
    refused
        .map(|refused| (refused.recipient, refused.reply.code))
        .collect()
}

const PLAIN_PEER: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
const UTF8_PEER: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n");
const MIXED: [&str; 4] = [
    "r0@x.example",
    "\u{fc}1@x.example",
    "r2@b\u{fc}cher.example",
    "\u{fc}3@x.example",
];

#[tokio::test]
async fn without_smtputf8_only_the_recipients_that_need_it_fail() {
    let script = [
        HELLO,
        PLAIN_PEER,
        OK,
        OK,
        Say(b"450 4.2.1 later\r\n"),
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (hop, seen) = peer(&[&script]).await;
    let report = deliver(&SmtpAgent::new(config()), job(&[hop], &MIXED, b"x\r\n")).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    assert_eq!(refused(&report), [(1, 553), (2, 450), (3, 553)]);
    assert!(
        report.refused[0].reply.to_string().contains("5.6.7"),
        "{:?}",
        report.refused
    );
    assert_eq!(
        seen.lines()[1..4],
        [
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<r0@x.example>",
            "RCPT TO:<r2@xn--bcher-kva.example>"
        ]
    );
    assert_eq!((seen.bodies.lock().unwrap().len(), seen.count("EHLO")), (1, 1));
}

#[tokio::test]
async fn a_recipient_that_one_host_cannot_be_given_is_for_the_next_one() {
    let (plain, _) = peer(&[&[HELLO, PLAIN_PEER, OK, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let (utf8, seen) = peer(&[&[HELLO, UTF8_PEER, OK, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let report = deliver(&SmtpAgent::new(config()), job(&[plain, utf8], &MIXED, b"x\r\n")).await;
    assert_eq!(
        (code(&report.result), refused(&report)),
        (250, vec![]),
        "{}",
        report.result
    );
    assert_eq!(
        seen.lines()[1..4],
        [
            "MAIL FROM:<a@example.org> SMTPUTF8",
            "RCPT TO:<\u{fc}1@x.example>",
            "RCPT TO:<\u{fc}3@x.example>"
        ]
    );
}

#[tokio::test]
async fn a_recipient_that_needs_smtputf8_waits_while_a_host_that_may_offer_it_is_not_reached() {
    let hello_only: &[Act] = &[Say(b"421 4.3.2 busy\r\n"), Close];
    for reached_first in [true, false] {
        let (plain, _) = peer(&[&[HELLO, PLAIN_PEER, OK, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
        let (busy, _) = peer(&[hello_only]).await;
        let hops = if reached_first {
            [plain, busy]
        } else {
            [busy, plain]
        };
        let report = deliver(&SmtpAgent::new(config()), job(&hops, &MIXED, b"x\r\n")).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert_eq!(refused(&report), [(1, 451), (3, 451)], "{:?}", report.refused);
        assert!(
            report.refused[0].reply.text.contains("SMTPUTF8"),
            "{:?}",
            report.refused
        );
    }
}

#[tokio::test]
async fn a_message_that_needs_smtputf8_itself_fails_for_all_its_recipients() {
    let header = "Subject: \u{fc}\r\n\r\nx\r\n".as_bytes();
    for (sender, body) in [
        ("a@example.org", header),
        ("\u{fc}@example.org", b"x\r\n".as_slice()),
    ] {
        let (hop, seen) = peer(&[&[HELLO, PLAIN_PEER]]).await;
        let mut job = job(&[hop], &MIXED, body);
        let envelope = Arc::make_mut(&mut job.envelope);
        envelope.parameters.smtputf8 = true;
        envelope.reverse_path = ReversePath::parse(sender).unwrap();
        let report = deliver(&SmtpAgent::new(config()), job).await;
        assert_eq!(code(&report.result), 553, "{}", report.result);
        assert_eq!(seen.lines().len(), 1, "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn a_host_name_that_is_not_ascii_is_sent_in_a_labels() {
    let mut config = config();
    config.hostname = "b\u{fc}ro.example".to_owned();
    let (_, seen) = super::attempt_with(config, &[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]).await;
    assert_eq!(seen.lines()[0], "EHLO xn--bro-hoa.example");
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte() {
    let large = b"0123456789abcdef.\r\n.\r\n..\r\n".repeat(400_000);
    let bodies: [&[u8]; 7] = [
        b"",
        b"\r\n",
        b".\r\n",
        b"..\r\n.\r\n",
        b"a\r\n.b\r\n\r\n",
        b"\r\n\r\n.\r\n",
        &large,
    ];
    for body in bodies {
        let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
        let report = deliver(&SmtpAgent::new(config()), job(&[hop], &["b@x"], body)).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert!(
            seen.bodies.lock().unwrap()[0] == body,
            "{} bytes were altered",
            body.len()
        );
    }
}

#[tokio::test]
async fn a_body_whose_last_line_has_no_end_is_sent_with_one() {
    // The spool has no such body, but another caller of the agent may.
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    deliver(&SmtpAgent::new(config()), job(&[hop], &["b@x"], b"one\r\n.two")).await;
    assert_eq!(seen.bodies.lock().unwrap()[0], b"one\r\n.two\r\n");
}

/// The MAIL and RCPT that a peer with these extensions receives for a message that uses all of them.
async fn asked_for_everything(ehlo: &'static [u8]) -> Vec<String> {
    let (hop, seen) = peer(&[&[HELLO, Say(ehlo), OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let mut job = job(&[hop], &["b@x"], b"x\r\n");
    let envelope = Arc::make_mut(&mut job.envelope);
    envelope.parameters = MailParameters {
        body: BodyKind::EightBitMime,
        ret: Some(Ret::Headers),
        envid: Some("a+b=c".to_owned()),
        ..MailParameters::default()
    };
    envelope.recipients[0].orcpt = Some("rfc822;b+c@x".to_owned());
    envelope.recipients[0].notify = Some(Notify {
        failure: true,
        delay: true,
        success: false,
    });
    let report = deliver(&SmtpAgent::new(config()), job).await;
    assert_eq!(code(&report.result), 250);
    seen.lines()[1..3].to_vec()
}

#[tokio::test]
async fn parameters_are_passed_on_to_a_peer_that_knows_them_and_to_no_other() {
    assert_eq!(
        asked_for_everything(b"250-peer\r\n250-SIZE\r\n250-8BITMIME\r\n250 DSN\r\n").await,
        [
            "MAIL FROM:<a@example.org> SIZE=3 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+3Dc",
            "RCPT TO:<b@x> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b+2Bc@x"
        ]
    );
    assert_eq!(
        asked_for_everything(b"250 peer\r\n").await,
        ["MAIL FROM:<a@example.org>", "RCPT TO:<b@x>"]
    );
}

/// The recipients that are reported as accepted without DSN by a peer with these extensions. The first of three does not ask for SUCCESS,
/// and the last is refused.
async fn taken_without_dsn(ehlo: &'static [u8]) -> Vec<u32> {
    let no = Say(b"550 no\r\n");
    let (hop, _seen) = peer(&[&[HELLO, Say(ehlo), OK, OK, OK, no, GO, Body(b"250 ok\r\n")]]).await;
    let mut job = job(&[hop], &["a@x", "b@x", "c@x"], b"x\r\n");
    for recipient in &mut Arc::make_mut(&mut job.envelope).recipients[1..] {
        recipient.notify = Some(Notify {
            success: true,
            ..Notify::default()
        });
    }
    let report = deliver(&SmtpAgent::new(config()), job).await;
    assert_eq!((code(&report.result), report.refused.len()), (250, 1));
    report.without_dsn
}

#[tokio::test]
async fn recipients_that_ask_for_success_are_reported_if_the_peer_lacks_dsn() {
    assert_eq!(taken_without_dsn(b"250 peer\r\n").await, [1]);
    assert!(taken_without_dsn(b"250-peer\r\n250 DSN\r\n").await.is_empty());
}

#[tokio::test]
async fn the_name_in_ehlo_cannot_end_its_line() {
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let mut config = config();
    config.hostname = "a b\r\nMAIL FROM:<x>".to_owned();
    let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], b"x\r\n")).await;
    assert_eq!(code(&report.result), 250);
    assert_eq!(seen.lines()[0], "EHLO abMAILFROM:<x>");
}
