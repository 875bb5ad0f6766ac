//! The client against scripted sinks: the second message of a session, and slow readers. `tests/scenarios/peers.rs` tests single messages.

use super::{code, config, deliver, hasty, job};
use crate::client::SmtpAgent;
use crate::sink::{Sink, SinkConfig, SinkCounts};
use spool_core::{AttemptReport, AttemptResult, DeliveryAgent, NextHop, Stage};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A sink, which runs until the returned sender is dropped.
pub(super) async fn sink(script: &str) -> (NextHop, Arc<SinkCounts>, watch::Sender<bool>) {
    let config = SinkConfig {
        script: script.parse().unwrap(),
        ..SinkConfig::default()
    };
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let (hop, counts) = (sink.local_addr().unwrap().into(), sink.counts());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sink.run(stopped));
    (hop, counts, stop)
}

async fn send(agent: &SmtpAgent, hop: &NextHop, to: &str) -> AttemptReport {
    deliver(agent, job(std::slice::from_ref(hop), &[to], b"x\r\n")).await
}

#[tokio::test]
async fn a_used_session_that_fails_does_not_affect_the_next_message() {
    let actions = [
        "rset hang",
        "rset drip 100ms 250 ok",
        "rset reset",
        "rset close",
        "rset reply 500 what",
        "rset reply 354 what",
        "rset reply-close 421 4.3.2 enough",
        "rset endless x",
        "rset endless 250-x\\r\\n",
        "rset raw what\\r\\n",
        "mail nth=2 reply-close 421 4.3.2 enough",
        "mail nth=2 reply 503 5.5.1 out of sequence",
        "mail nth=2 reset",
        "mail nth=2 hang",
    ];
    let cases = ["SIZE", "PIPELINING"].into_iter();
    for (hidden, action) in cases.flat_map(|hidden| actions.map(|action| (hidden, action))) {
        let script = format!("rcpt to=gone* reply 550 5.1.1 no\nehlo hide {hidden}\n{action}");
        let (hop, counts, _stop) = sink(&script).await;
        let agent = SmtpAgent::new(hasty());
        let refused = send(&agent, &hop, "gone@x").await.result;
        assert_eq!(refused, AttemptResult::AllRefused, "{script}");
        let report = send(&agent, &hop, "b@x").await;
        assert_eq!(code(&report.result), 250, "{script}: {}", report.result);
        assert_eq!(counts.messages.load(Ordering::Relaxed), 1, "{script}");
        assert_eq!(counts.connections.load(Ordering::Relaxed), 2, "{script}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_is_left_when_the_attempt_is_over() {
    const SIZE: usize = 16 * 1024 * 1024;
    // Virtual time advances in small steps, so that pending input is read before the next one.
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (hop, counts, _stop) = sink("body slow 1s").await;
    let body = "a line of the text\r\n".repeat(SIZE / 20);
    let begun = Instant::now();
    // Without the time limit of the tests, because time is virtual.
    let job = job(&[hop], &["b@x"], body.as_bytes());
    // On a busy machine a peer's answer can arrive after minutes of virtual time.
    let mut config = super::within(Duration::from_secs(86_400));
    config.attempt_timeout = Duration::from_secs(300);
    let report = SmtpAgent::new(config).deliver(job).await;
    let left = AttemptResult::Broken {
        stage: Stage::Body,
        error: "timed out".to_owned(),
        in_doubt: false,
    };
    assert_eq!(report.result, left);
    let took = begun.elapsed().as_secs();
    // The attempt timeout, and one second for each 16 KiB.
    assert!((1320..1340).contains(&took), "{took}");
    assert_eq!(counts.messages.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_reader_that_stops_is_left_when_nothing_was_taken_for_the_data_timeout() {
    for size in [1 << 20, 8 << 20] {
        let (hop, counts, _stop) = sink("body hang").await;
        let body = "a line of the text\r\n".repeat(size / 20);
        let mut config = config();
        config.data_timeout = Duration::from_millis(500);
        let begun = Instant::now();
        let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], body.as_bytes())).await;
        let left = AttemptResult::Broken {
            stage: Stage::Body,
            error: "timed out".to_owned(),
            in_doubt: false,
        };
        assert_eq!(report.result, left);
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_secs(10),
            "{took:?}"
        );
        assert_eq!(counts.messages.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_and_not_too_slow_gets_the_whole_body() {
    let (hop, counts, _stop) = sink("body slow 1ms").await;
    let body = "a line of the text\r\n".repeat(4_500);
    let job = job(&[hop], &["b@x"], body.as_bytes());
    let report = deliver(&SmtpAgent::new(config()), job).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    assert_eq!(
        counts.bytes.load(Ordering::Relaxed),
        u64::try_from(body.len()).unwrap()
    );
}
