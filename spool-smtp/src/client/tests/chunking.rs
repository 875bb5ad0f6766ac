//! BDAT in one write with the envelope: when it is used, and what happens to a message when it fails.

use super::peer::Act::{Body, Octets, Say};
use super::peer::{Act, GO, HELLO, OK, Seen, peer};
use super::{code, config, deliver, hasty, job, sinks};
use crate::client::{SmtpAgent, SmtpConfig};
use crate::sink::SinkCounts;
use spool_core::{AttemptReport, AttemptResult, NextHop, Stage};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

const CHUNKING: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 chunking\r\n");
const TAKEN: Act = Body(b"250 ok\r\n");

async fn send(agent: &SmtpAgent, hop: &NextHop, to: &[&str], body: &[u8]) -> AttemptReport {
    deliver(agent, job(std::slice::from_ref(hop), to, body)).await
}

/// Sends two messages to a peer that offers `ehlo`, the second with `body` to `to` after `pause`. Returns what the peer received of the
/// second.
async fn second(
    ehlo: Act,
    last: &[Act],
    config: SmtpConfig,
    to: &[&str],
    body: &[u8],
    pause: Duration,
) -> Seen {
    let mut script = vec![HELLO, ehlo, OK, OK, GO, TAKEN, OK];
    script.extend(to.iter().map(|_| OK));
    script.extend_from_slice(last);
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config);
    let first = send(&agent, &hop, &["b@x"], b"first\r\n").await;
    assert_eq!(code(&first.result), 250, "{}", first.result);
    tokio::time::pause();
    tokio::time::advance(pause).await;
    tokio::time::resume();
    let report = send(&agent, &hop, to, body).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    let arrived = seen.bodies.lock().unwrap()[1].clone();
    assert_eq!(
        arrived.strip_suffix(b"\r\n"),
        Some(body.strip_suffix(b"\r\n").unwrap_or(body))
    );
    seen
}

#[tokio::test]
async fn the_messages_after_the_first_go_out_with_their_envelope_byte_for_byte() {
    let full = b"0123456789abcdef.\r\n.\r\n.".repeat(65_536)[..65_534].to_vec();
    let full = [&full[..], b"\r\n"].concat();
    let bodies = [&b""[..], b"\r\n", b".\r\n", b"..\r\n.\r\nQUIT\r\n", &full];
    let mut script = vec![HELLO, CHUNKING, OK, OK, GO, TAKEN];
    bodies
        .iter()
        .for_each(|_| script.extend([OK, OK, Octets(b"250 ok\r\n")]));
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config());
    for body in std::iter::once(&b"first\r\n"[..]).chain(bodies) {
        let report = send(&agent, &hop, &["b@x"], body).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
    }
    assert_eq!(seen.bodies.lock().unwrap()[1..], bodies);
    assert_eq!((seen.count("DATA"), seen.count("BDAT")), (1, bodies.len()));
    assert_eq!((seen.count("EHLO"), seen.count("RSET")), (1, 0));
}

#[tokio::test]
async fn data_is_used_where_bdat_saves_nothing_or_risks_more() {
    let (small, large) = (&b"small\r\n"[..], "x".repeat(65_535) + "\r\n");
    let many: Vec<String> = (0..98).map(|n| format!("r{n}@x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (bdat, data) = ([Octets(b"250 ok\r\n")], [GO, TAKEN]);
    let soon = Duration::from_millis(500);
    let seen = second(CHUNKING, &bdat, config(), &many, small, soon).await;
    assert_eq!(seen.count("DATA"), 1, "what is compared with");
    let mut off = config();
    off.chunking = false;
    let unpipelined = Say(b"250-peer\r\n250 CHUNKING\r\n");
    let plain = Say(b"250-peer\r\n250 PIPELINING\r\n");
    let all = [&many[..], &["another@x"]].concat();
    let cases = [
        (unpipelined, config(), &["b@x"][..], small, soon),
        (plain, config(), &["b@x"], small, soon),
        (CHUNKING, off, &["b@x"], small, soon),
        (CHUNKING, config(), &["b@x"], large.as_bytes(), soon),
        (CHUNKING, config(), &["b@x"], b"no line end", soon),
        (CHUNKING, config(), &["b@x"], b"x\r\nmail from:<evil@x>\r\n", soon),
        (CHUNKING, config(), &all, small, soon),
        (CHUNKING, config(), &["b@x"], small, Duration::from_secs(1)),
    ];
    for (n, (ehlo, config, to, body, pause)) in cases.into_iter().enumerate() {
        let seen = second(ehlo, &data, config, to, body, pause).await;
        assert_eq!((seen.count("DATA"), seen.count("BDAT")), (2, 0), "case {n}");
    }
}

/// The commands for 98 recipients with ORCPT exceed the buffer that is written at once.
#[tokio::test]
async fn octets_come_behind_the_last_command_however_long_the_commands_are() {
    const TO: usize = 98;
    let dsn = Say(b"250-peer\r\n250-PIPELINING\r\n250-DSN\r\n250 CHUNKING\r\n");
    let mut script = vec![HELLO, dsn, OK, OK, GO, TAKEN, OK];
    script.extend((0..TO).map(|_| OK));
    script.push(Octets(b"250 ok\r\n"));
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config());
    send(&agent, &hop, &["b@x"], b"first\r\n").await;
    let to: Vec<String> = (0..TO).map(|n| format!("r{n}@x")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut job = job(&[hop], &to, b"second\r\n");
    let envelope = Arc::make_mut(&mut job.envelope);
    for recipient in &mut envelope.recipients {
        recipient.orcpt = Some(format!("rfc822;{}@x", "+".repeat(240)));
    }
    let report = deliver(&agent, job).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    assert_eq!((seen.count("RCPT"), seen.count("BDAT")), (TO + 1, 1));
    assert_eq!(seen.bodies.lock().unwrap()[1], b"second\r\n");
}

/// A sink that offers CHUNKING.
async fn sink(script: &str) -> (NextHop, Arc<SinkCounts>, watch::Sender<bool>) {
    sinks::sink(&format!("ehlo offer CHUNKING\n{script}")).await
}

#[tokio::test]
async fn a_refusal_is_the_one_that_was_meant() {
    let cases: [(&str, &[&str], &str, u64); 5] = [
        (
            "mail nth=2 reply 450 4.7.28 no",
            &["b@x"],
            "refused at MAIL: 450 4.7.28 no",
            2,
        ),
        (
            "mail nth=2 reply 550 5.7.1 no",
            &["b@x"],
            "refused at MAIL: 550 5.7.1 no",
            2,
        ),
        (
            "rcpt to=gone* reply 550 5.1.1 no",
            &["gone@x"],
            "all recipients refused",
            2,
        ),
        (
            "dot nth=2 reply 554 5.6.0 no",
            &["b@x"],
            "refused at final reply: 554 5.6.0 no",
            1,
        ),
        (
            "dot nth=2 reply 452 4.2.2 full",
            &["b@x"],
            "refused at final reply: 452 4.2.2 full",
            1,
        ),
    ];
    for (script, to, expected, connections) in cases {
        let (hop, counts, _stop) = sink(script).await;
        let agent = SmtpAgent::new(config());
        send(&agent, &hop, &["b@x"], b"1\r\n").await;
        let report = send(&agent, &hop, to, b"2\r\n").await;
        assert_eq!(report.result.to_string(), expected, "{script}");
        // After RSET, or on another session if BDAT was out of order, because the peer may not have skipped the octets.
        let third = send(&agent, &hop, &["b@x"], b"3\r\n").await;
        assert_eq!(code(&third.result), 250, "{script}: {}", third.result);
        assert_eq!(counts.messages.load(Ordering::Relaxed), 2, "{script}");
        assert_eq!(
            counts.connections.load(Ordering::Relaxed),
            connections,
            "{script}"
        );
    }
}

#[tokio::test]
async fn each_recipient_has_its_own_reply() {
    let (hop, counts, _stop) = sink("rcpt to=gone* reply 550 5.1.1 no").await;
    let agent = SmtpAgent::new(config());
    send(&agent, &hop, &["b@x"], b"1\r\n").await;
    let report = send(&agent, &hop, &["b@x", "gone@x", "c@x"], b"2\r\n").await;
    assert_eq!(code(&report.result), 250);
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|refused| (refused.recipient, refused.reply.code))
        .collect();
    assert_eq!(refused, [(1, 550)]);
    assert_eq!(counts.messages.load(Ordering::Relaxed), 2);
    assert_eq!(counts.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn data_is_used_for_a_while_with_a_peer_that_offers_bdat_and_refuses_it() {
    for code_said in [500, 501, 502, 503, 504] {
        let (hop, counts, _stop) = sink(&format!("bdat reply {code_said} 5.5.1 what")).await;
        let agent = SmtpAgent::new(config());
        for n in 1..=4 {
            let report = send(&agent, &hop, &["b@x"], b"NOOP\r\n").await;
            assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
        }
        assert_eq!(counts.messages.load(Ordering::Relaxed), 4);
        assert_eq!(counts.connections.load(Ordering::Relaxed), 2, "one more, once");
    }
}

#[tokio::test]
async fn a_session_that_the_peer_has_ended_with_421_is_replaced() {
    let (hop, counts, _stop) = sink("mail nth=2 reply-close 421 4.3.2 enough\ndata nth=4 reply 451 no").await;
    let agent = SmtpAgent::new(config());
    // The third message uses BDAT again: a refusal of the message is not a failure of BDAT.
    for n in 1..=3 {
        let report = send(&agent, &hop, &["b@x"], b"x\r\n").await;
        assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
    }
    assert_eq!(counts.messages.load(Ordering::Relaxed), 3);
    assert_eq!(counts.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_message_whose_replies_never_come_is_in_doubt_and_the_next_ones_go_by_data() {
    for script in [
        "mail nth=2 close",
        "mail nth=2 hang",
        "bdat hang",
        "dot nth=2 reset",
    ] {
        let (hop, counts, _stop) = sink(script).await;
        let agent = SmtpAgent::new(hasty());
        send(&agent, &hop, &["b@x"], b"1\r\n").await;
        let report = send(&agent, &hop, &["b@x"], b"2\r\n").await;
        let AttemptResult::Broken { stage, in_doubt, .. } = report.result else {
            panic!("{script}: {}", report.result)
        };
        assert_eq!((stage, in_doubt), (Stage::FinalReply, true), "{script}");
        // `bdat hang` would hang again.
        for _ in 0..3 {
            let report = send(&agent, &hop, &["b@x"], b"3\r\n").await;
            assert_eq!(code(&report.result), 250, "{script}: {}", report.result);
        }
        assert_eq!(counts.connections.load(Ordering::Relaxed), 2, "{script}");
    }
}
