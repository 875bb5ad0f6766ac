//! Time limits for silent and slow peers.

use super::peer::Act::{self, Body, Drip, Hang};
use super::peer::{EHLO, GO, HELLO, OK, SLOW_EHLO, peer};
use super::{attempt_with, config, deliver, hasty, job};
use crate::client::SmtpAgent;
use crate::client::resolve::tests::Names;
use spool_core::{AttemptResult, DeliveryAgent};
use std::sync::Arc;
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
    // Each reply takes 160 ms, well within its own ten seconds; one by one, without PIPELINING.
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
async fn limits_may_be_as_long_as_a_span_can_be() {
    let mut config = super::within(Duration::MAX);
    (config.attempt_timeout, config.idle_timeout) = (Duration::MAX, Duration::MAX);
    (config.tls_timeout, config.plaintext_memory) = (Duration::MAX, Duration::MAX);
    let script = [HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];
    let report = attempt_with(config, &script).await.0;
    assert!(
        matches!(report.result, AttemptResult::Accepted(_)),
        "{}",
        report.result
    );
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

#[tokio::test(start_paused = true)]
async fn an_attempt_does_not_wait_for_name_servers_beyond_its_end() {
    let hosts = ["h1.example", "h2.example", "h3.example"];
    let names = || Names::default().silent("e.example").silent("f.example");
    let names = hosts.iter().fold(names(), |names, host| names.silent(host));
    let names = names.mx("d.example", &[(1, hosts[0]), (2, hosts[1]), (3, hosts[2])]);
    let mut config = config();
    // A lookup may take ten seconds.
    config.attempt_timeout = Duration::from_secs(15);
    let agent = SmtpAgent::with_resolver(config, Arc::new(names));
    let hops = [
        "mx:d.example:25",
        "smart.example:25",
        "mx:e.example:25",
        "mx:f.example:25",
    ];
    let hops = hops.map(|hop| hop.parse().unwrap());
    let begun = tokio::time::Instant::now();
    let report = agent.deliver(job(&hops, &["b@d.example"], b"x\r\n")).await;
    assert_eq!(begun.elapsed().as_secs(), 15, "{}", report.result);
    let error = report.result.to_string();
    assert_eq!(error.matches("not tried").count(), 4, "{error}");
    // A smart host is looked up when a connection is made.
    let mut config = super::config();
    config.attempt_timeout = Duration::from_secs(3);
    let agent = SmtpAgent::with_resolver(config, Arc::new(Names::default().silent("smart.example")));
    let begun = tokio::time::Instant::now();
    let report = agent.deliver(job(&hops[1..2], &["b@d.example"], b"x\r\n")).await;
    assert_eq!(begun.elapsed().as_secs(), 3, "{}", report.result);
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
        // The first attempt has ended.
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(800)).await;
        tokio::time::resume();
    }
    assert_eq!(seen.count("EHLO"), 1);
}
