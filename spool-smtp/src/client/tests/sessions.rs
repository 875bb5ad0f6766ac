//! Sessions are kept, reused, counted and closed.

use super::peer::Act::{Body, Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, Seen, peer, play};
use super::{code, config, deliver, job};
use crate::client::SmtpAgent;
use spool_core::{AttemptResult, NextHop};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_next_hop_that_answers_is_used() {
    let dead: NextHop = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .into();
    let (good, _) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let agent = SmtpAgent::new(config());
    let report = deliver(&agent, job(&[dead.clone(), good.clone()], &["b@x"], b"x\r\n")).await;
    assert_eq!((code(&report.result), report.peer), (250, Some(good)));
    let report = deliver(&agent, job(std::slice::from_ref(&dead), &["b@x"], b"x\r\n")).await;
    let AttemptResult::NoConnection { error } = report.result else {
        panic!("{}", report.result)
    };
    assert!(error.contains(&dead.to_string()), "{error}");
}

#[tokio::test]
async fn sessions_are_reused_and_a_dead_one_costs_no_attempt() {
    let twice = [
        HELLO,
        EHLO,
        OK,
        OK,
        GO,
        Body(b"250 1\r\n"),
        OK,
        OK,
        GO,
        Body(b"250 2\r\n"),
        Close,
    ];
    let (hop, seen) = peer(&[&twice, &[HELLO, EHLO, OK, OK, GO, Body(b"250 3\r\n")]]).await;
    let agent = SmtpAgent::new(config());
    for n in 1..=3 {
        let report = deliver(
            &agent,
            job(
                std::slice::from_ref(&hop),
                &["b@x"],
                format!("{n}\r\n").as_bytes(),
            ),
        )
        .await;
        assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
    }
    assert_eq!(*seen.bodies.lock().unwrap(), [b"1\r\n", b"2\r\n", b"3\r\n"]);
    let hellos = seen
        .lines()
        .iter()
        .filter(|line| line.starts_with("EHLO"))
        .count();
    assert_eq!(hellos, 2, "{:?}", seen.lines());
    assert!(!seen.lines().iter().any(|line| line == "RSET"));
}

#[tokio::test]
async fn a_failed_transaction_is_reset_before_the_next() {
    let script = [
        HELLO,
        EHLO,
        Say(b"451 later\r\n"),
        Say(b"503 x\r\n"),
        Say(b"503 x\r\n"),
        OK,
        OK,
        OK,
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config());
    assert_eq!(
        code(
            &deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n"))
                .await
                .result
        ),
        451
    );
    assert_eq!(
        code(&deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await.result),
        250
    );
    assert_eq!(seen.lines()[4], "RSET");
}

#[tokio::test]
async fn no_more_sessions_than_allowed_are_open_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop: NextHop = listener.local_addr().unwrap().into();
    let open = Arc::new(Mutex::new((0_usize, 0_usize)));
    let counts = Arc::clone(&open);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                {
                    let mut open = counts.lock().unwrap();
                    open.0 += 1;
                    open.1 = open.1.max(open.0);
                }
                play(
                    stream,
                    [HELLO, EHLO]
                        .into_iter()
                        .chain((0..50).flat_map(|_| [OK, OK, GO, Body(b"250 ok\r\n")]))
                        .collect(),
                    Seen::default(),
                )
                .await;
                counts.lock().unwrap().0 -= 1;
            });
        }
    });
    let mut limited = config();
    limited.connections_per_destination = 3;
    let agent = SmtpAgent::new(limited);
    let attempts = (0..15).map(|_| deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")));
    for report in futures_util::future::join_all(attempts).await {
        assert_eq!(code(&report.result), 250, "{}", report.result);
    }
    assert!(open.lock().unwrap().1 <= 3, "{:?}", open.lock().unwrap());
}
