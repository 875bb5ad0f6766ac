//! Peers that are silent or slow are left in time.

use super::peer::Act::{self, Body, Drip, Hang};
use super::peer::{EHLO, GO, HELLO, OK, SLOW_EHLO, peer};
use super::{attempt_with, config, deliver, hasty, job};
use crate::client::SmtpAgent;
use spool_core::AttemptResult;
use std::time::{Duration, Instant};

#[tokio::test]
async fn silence_and_drips_end_with_the_deadline() {
    let at = |stage: usize, act: Act| {
        let mut script = vec![HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];
        script.truncate(stage);
        script.push(act);
        script
    };
    for stage in 0..6 {
        let report = attempt_with(hasty(), &at(stage, Hang)).await.0;
        assert!(!matches!(report.result, AttemptResult::Accepted(_)), "{stage}");
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
    }
    for stage in 0..5 {
        let report = attempt_with(hasty(), &at(stage, Drip(&[b'2'; 4000]))).await.0;
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
    }
}

#[tokio::test]
async fn a_peer_that_keeps_every_deadline_but_takes_too_long_in_all_is_left() {
    const SLOW: Act = Drip(b"250 ok\r\n");
    // Each reply takes 160 ms, well within its own ten seconds; one by one, for want of PIPELINING.
    let script = [&[HELLO, SLOW_EHLO, SLOW][..], &vec![SLOW; 100]].concat();
    let (hop, seen) = peer(&[&script]).await;
    let (other, others) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let mut config = config();
    config.attempt_timeout = Duration::from_secs(1);
    let to: Vec<String> = (0..90).map(|n| format!("r{n}@x")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let report = deliver(&SmtpAgent::new(config), job(&[hop, other], &to, b"x\r\n")).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(
        report.result.to_string().contains("timed out"),
        "{}",
        report.result
    );
    assert!(seen.count("RCPT") < 20, "{}", seen.count("RCPT"));
    assert!(others.lines().is_empty());
}

#[tokio::test]
async fn a_hop_for_which_no_time_is_left_is_not_tried() {
    let (slow, _) = peer(&[&[Hang]]).await;
    let (other, others) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let mut config = config();
    config.attempt_timeout = Duration::from_millis(300);
    let report = deliver(&SmtpAgent::new(config), job(&[slow, other], &["b@x"], b"x\r\n")).await;
    let error = report.result.to_string();
    assert!(
        error.contains("no greeting: timed out") && error.contains("not tried"),
        "{error}"
    );
    assert!(others.lines().is_empty());
}

#[tokio::test]
async fn a_deadline_of_one_attempt_is_not_that_of_the_next_on_the_same_session() {
    let script = [
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
    ];
    let (hop, seen) = peer(&[&script]).await;
    let mut config = config();
    config.attempt_timeout = Duration::from_millis(700);
    let agent = SmtpAgent::new(config);
    for _ in 0..2 {
        let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await;
        assert!(
            matches!(report.result, AttemptResult::Accepted(_)),
            "{}",
            report.result
        );
        // The time of the first attempt is over.
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(800)).await;
        tokio::time::resume();
    }
    assert_eq!(seen.count("EHLO"), 1);
}
