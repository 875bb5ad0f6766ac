//! The cache of sessions of an agent: limits, source addresses, warming and the snapshot.

use super::peer::Act::{Body, Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, Seen, TAKEN, peer};
use super::tls::with;
use super::{code, config, deliver, job};
use crate::client::{Lookup, SmtpAgent, SmtpConfig};
use spool_core::{AttemptResult, DeliveryAgent, DestinationPolicy, NextHop, TlsPolicy};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A peer that sends each greeting only when the test allows it.
async fn held() -> (NextHop, Arc<Semaphore>, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = listener.local_addr().unwrap().into();
    let (gate, open) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0)));
    let (held, counted) = (Arc::clone(&gate), Arc::clone(&open));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            *counted.lock().unwrap() += 1;
            let (held, counted) = (Arc::clone(&held), Arc::clone(&counted));
            tokio::spawn(async move {
                held.acquire().await.unwrap().forget();
                let _ = stream.write_all(b"554 no\r\n").await;
                let _ = stream.read(&mut [0]).await;
                *counted.lock().unwrap() -= 1;
            });
        }
    });
    (hop, gate, open)
}

/// Waits until `condition` holds, for at most ten seconds.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not hold in time");
}

pub(super) fn twice() -> Vec<super::peer::Act> {
    vec![HELLO, EHLO, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN]
}

async fn send(agent: &SmtpAgent, hop: &NextHop) {
    let report = deliver(agent, job(std::slice::from_ref(hop), &["b@x"], b"x\r\n")).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
}

#[tokio::test]
async fn the_limit_of_a_destination_is_that_of_its_policy_and_may_change() {
    let (hop, gate, open) = held().await;
    let most = Arc::new(AtomicU32::new(2));
    let now = Arc::clone(&most);
    let mut config = config();
    config.connections_per_destination = 5;
    config.policies = Lookup::new(move |_: &[NextHop]| {
        let mut policy = DestinationPolicy::default();
        policy.max_connections = NonZeroU32::new(now.load(Ordering::SeqCst));
        policy
    });
    let agent = SmtpAgent::new(config);
    for (limit, expected) in [(2, 2), (7, 7), (0, 5)] {
        most.store(limit, Ordering::SeqCst);
        let waiting = 3;
        let attempts: Vec<_> = (0..expected + waiting)
            .map(|_| tokio::spawn(agent.deliver(job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n"))))
            .collect();
        until(|| *open.lock().unwrap() == expected).await;
        until(|| agent.snapshot().destinations[0].waiting == waiting).await;
        let shown = &agent.snapshot().destinations[0];
        assert_eq!(
            (shown.limit, shown.open, shown.in_use),
            (expected, expected, expected)
        );
        gate.add_permits(expected + waiting);
        for attempt in attempts {
            assert_eq!(code(&attempt.await.unwrap().result), 554);
        }
        until(|| *open.lock().unwrap() == 0).await;
    }
}

#[tokio::test]
async fn one_destination_leaves_connections_for_the_others() {
    let (hog, gate, open) = held().await;
    let (other, _) = peer(&[&twice()]).await;
    let mut config = config();
    (config.connections, config.connections_per_destination) = (4, 100);
    let agent = SmtpAgent::new(config);
    // Three have a connection, one waits.
    let attempts: Vec<_> = (0..4)
        .map(|_| tokio::spawn(agent.deliver(job(std::slice::from_ref(&hog), &["b@x"], b"x\r\n"))))
        .collect();
    until(|| *open.lock().unwrap() == 3).await;
    send(&agent, &other).await;
    gate.add_permits(4);
    for attempt in attempts {
        assert_eq!(code(&attempt.await.unwrap().result), 554);
    }
}

#[tokio::test]
async fn when_all_connections_are_idle_elsewhere_one_is_closed() {
    let (first, _) = peer(&[&twice()]).await;
    let (second, _) = peer(&[&twice()]).await;
    let mut config = config();
    config.connections = 1;
    let agent = SmtpAgent::new(config);
    for hop in [&first, &second, &first] {
        send(&agent, hop).await;
    }
    let shown = agent.snapshot();
    assert_eq!((shown.open, shown.limit, shown.destinations.len()), (1, 1, 1));
}

#[tokio::test]
async fn what_is_open_can_be_seen() {
    let (hop, _) = peer(&[&twice()]).await;
    let agent = SmtpAgent::new(config());
    assert!(agent.snapshot().destinations.is_empty());
    send(&agent, &hop).await;
    send(&agent, &hop).await;
    let shown = agent.snapshot();
    let [destination] = &shown.destinations[..] else {
        panic!("{shown:?}")
    };
    assert_eq!(
        (destination.open, destination.idle, destination.in_use),
        (1, 1, 0)
    );
    assert_eq!(
        (destination.opened, destination.reused, destination.waiting),
        (1, 1, 0)
    );
    assert_eq!((&destination.next_hop, &destination.tls), (&hop, &None));
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["destinations"][0]["tls_policy"], "opportunistic");
    agent.close().await;
    assert!(agent.snapshot().destinations.is_empty());
}

#[tokio::test]
async fn sessions_are_shared_only_by_what_asks_for_the_same() {
    let (hop, seen) = peer(&[&twice()]).await;
    let policy = Arc::new(Mutex::new(TlsPolicy::None));
    let now = Arc::clone(&policy);
    let mut config = with(TlsPolicy::None);
    config.policies = Lookup::new(move |_: &[NextHop]| {
        let mut policy = DestinationPolicy::default();
        policy.tls = Some(*now.lock().unwrap());
        policy
    });
    let agent = SmtpAgent::new(config);
    send(&agent, &hop).await;
    *policy.lock().unwrap() = TlsPolicy::Verify;
    let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await;
    // The open session is in plaintext, which the other policy allows.
    assert!(
        report.result.to_string().contains("does not offer STARTTLS"),
        "{}",
        report.result
    );
    assert_eq!(seen.bodies(), 1);
}

fn from(config: &mut SmtpConfig, addresses: &[&str]) {
    config.source_addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
}

#[tokio::test]
async fn mail_leaves_from_the_addresses_given_and_a_destination_keeps_its_own() {
    let mut used = std::collections::HashSet::new();
    for _ in 0..16 {
        let (hop, seen): (_, Seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN, Close]]).await;
        let mut config = config();
        from(&mut config, &["127.0.0.2", "127.0.0.3", "::1"]);
        let agent = SmtpAgent::new(config);
        send(&agent, &hop).await;
        send(&agent, &hop).await;
        let addresses = seen.from.lock().unwrap().clone();
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses[0], addresses[1]);
        assert_eq!(agent.snapshot().destinations[0].source[0], addresses[0]);
        used.insert(addresses[0].to_string());
    }
    assert!(
        used.iter()
            .all(|address| ["127.0.0.2", "127.0.0.3"].contains(&address.as_str()))
    );
    assert_eq!(used.len(), 2);
    let (hop, _) = peer(&[&twice()]).await;
    let mut config = config();
    from(&mut config, &["::1"]);
    let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], b"x\r\n")).await;
    assert!(
        report
            .result
            .to_string()
            .contains("no source address of its family"),
        "{}",
        report.result
    );
}

#[tokio::test]
async fn sessions_can_be_opened_before_there_is_mail() {
    let (hop, seen) = peer(&[&twice()]).await;
    let mut config = config();
    config.connections_per_destination = 3;
    let agent = SmtpAgent::new(config);
    agent.warm([hop.clone()].into(), 100).await.unwrap();
    let shown = agent.snapshot();
    assert_eq!((shown.open, shown.destinations[0].idle), (3, 3));
    send(&agent, &hop).await;
    assert_eq!((seen.count("EHLO"), seen.bodies()), (3, 1));
    let dead: NextHop = "127.0.0.1:1".parse().unwrap();
    let error = agent.warm([dead].into(), 1).await.unwrap_err();
    assert!(error.starts_with("127.0.0.1:1: "), "{error}");
}

#[tokio::test]
async fn an_idle_session_is_ended_politely_in_time() {
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN, Say(b"221 bye\r\n")]]).await;
    let mut config = config();
    config.idle_timeout = Duration::from_millis(50);
    let agent = SmtpAgent::new(config);
    send(&agent, &hop).await;
    until(|| seen.count("QUIT") == 1).await;
    until(|| agent.snapshot().open == 0).await;
}

#[test]
fn a_runtime_that_ends_leaves_no_session_open_for_ever() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let peers = runtime();
    let [first, second] = [(); 2].map(|()| peers.block_on(peer(&[&twice()])).0);
    let mut config = config();
    config.idle_timeout = Duration::from_millis(300);
    let agent = SmtpAgent::new(config);
    // The task that closes idle sessions ends with the runtime.
    runtime().block_on(send(&agent, &first));
    runtime().block_on(async {
        assert_eq!(agent.snapshot().open, 1);
        send(&agent, &second).await;
        until(|| agent.snapshot().open == 0).await;
    });
}

#[tokio::test]
async fn a_hop_that_cannot_take_the_message_is_passed_over() {
    let utf8 = Say(b"250-peer\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n");
    let (ascii, _) = peer(&[&twice()]).await;
    let (able, seen) = peer(&[&[HELLO, utf8, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let dead: NextHop = "127.0.0.1:1".parse().unwrap();
    let agent = SmtpAgent::new(config());
    let report = deliver(
        &agent,
        job(&[ascii.clone(), able.clone()], &["\u{fc}@x"], b"x\r\n"),
    )
    .await;
    assert_eq!(
        (code(&report.result), report.peer, seen.bodies()),
        (250, Some(able), 1)
    );
    // The other host was not tried, so the failure is temporary.
    let report = deliver(&agent, job(&[ascii, dead], &["\u{fc}@x"], b"x\r\n")).await;
    assert!(
        matches!(report.result, AttemptResult::NoConnection { .. }),
        "{}",
        report.result
    );
}
