//! What a peer offers is used, and what it does not offer is not asked of it.

use super::peer::Act::{Body, Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, SLOW_EHLO, peer};
use super::{attempt, code, config, deliver, job};
use crate::client::SmtpAgent;

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
