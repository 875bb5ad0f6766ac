//! Mail exchangers on real sockets: one port, and an address of 127/8 for each host.

use super::peer::{Act, Act::Body, Act::Close, Act::Hang, Act::Say, EHLO, GO, HELLO, OK, peer_at};
use super::{code, config, deliver, hasty, job};
use crate::client::resolve::Routes;
use crate::client::resolve::tests::Names;
use crate::client::sts::PolicyCache;
use crate::client::sts::tests::one_text;
use crate::client::{SmtpAgent, SmtpConfig};
use futures_util::future::join_all;
use spool_core::disposition::Decisions;
use spool_core::{AttemptReport, AttemptResult, NextHop, OnError, Stage};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

pub(super) const TAKES: [Act; 6] = [HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];

/// Mail exchangers on loopback, which is ignored by default.
pub(super) fn on_loopback(mut config: SmtpConfig) -> SmtpConfig {
    config.route.ignored_networks.clear();
    config
}

pub(super) fn agent(names: Names) -> SmtpAgent {
    SmtpAgent::with_resolver(on_loopback(config()), Arc::new(names))
}

/// A port that is free on every address. It is held on 127.0.0.1 to the end of the process: peers listen on it for as long as
/// their tests run, and no other test may be given it.
pub(super) async fn port() -> u16 {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    std::mem::forget(held);
    port
}

pub(super) fn mx(port: u16) -> NextHop {
    NextHop::mx("d.example", port).unwrap()
}

pub(super) async fn delivered(agent: &SmtpAgent, hops: &[NextHop]) -> AttemptReport {
    deliver(agent, job(hops, &["b@d.example"], b"x\r\n")).await
}

pub(super) fn peer_of(report: &AttemptReport) -> String {
    report.peer.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn the_next_exchanger_is_tried_when_one_is_dead_or_refuses_the_session() {
    let port = port().await;
    let _ = peer_at(("127.0.0.2", port), &[&[Say(b"554 no service\r\n")]]).await;
    let _ = peer_at(("127.0.0.3", port), &[&[Close]]).await;
    let _ = peer_at(("127.0.0.4", port), &[&TAKES]).await;
    let hosts = [
        (1, "dead.example"),
        (2, "no.example"),
        (3, "shut.example"),
        (4, "good.example"),
    ];
    let names = Names::default()
        .mx("d.example", &hosts)
        .host("dead.example", &["127.0.0.9"])
        .host("no.example", &["127.0.0.2"])
        .host("shut.example", &["127.0.0.3"])
        .host("good.example", &["127.0.0.4"]);
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(code(&report.result), 250);
    assert_eq!(peer_of(&report), format!("good.example:{port}"));
}

#[tokio::test]
async fn sessions_belong_to_a_host_and_are_shared_by_its_domains() {
    let port = port().await;
    let twice = [TAKES.as_slice(), &[OK, OK, GO, Body(b"250 ok\r\n")]].concat();
    let seen = peer_at(("127.0.0.2", port), &[&twice, &[Close]]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .mx("e.example", &[(9, "host.example")])
        .host("host.example", &["127.0.0.2"]);
    let agent = agent(names);
    for domain in ["d.example", "e.example"] {
        let hop = NextHop::mx(domain, port).unwrap();
        assert_eq!(code(&delivered(&agent, &[hop]).await.result), 250);
    }
    let hellos = seen
        .lines()
        .iter()
        .filter(|line| line.starts_with("EHLO"))
        .count();
    assert_eq!(hellos, 1, "{:?}", seen.lines());
}

#[tokio::test]
async fn a_dead_host_of_many_domains_is_not_connected_to_for_each() {
    let port = port().await;
    let seen = peer_at(("127.0.0.2", port), &[&[Close]]).await;
    let domains: Vec<String> = (0..100).map(|n| format!("d{n}.example")).collect();
    let names = Names::default().host("host.example", &["127.0.0.2"]);
    let names = domains
        .iter()
        .fold(names, |names, domain| names.mx(domain, &[(1, "host.example")]));
    let agent = agent(names);
    let attempts = domains.iter().map(|domain| {
        let hop = NextHop::mx(domain, port).unwrap();
        deliver(&agent, job(&[hop], &["b@x"], b"x\r\n"))
    });
    for report in join_all(attempts).await {
        let result = report.result.to_string();
        assert!(result.contains("no greeting"), "{result}");
    }
    let connections = seen.from.lock().unwrap().len();
    assert!(connections <= 20, "{connections}");
}

#[tokio::test]
async fn an_attempt_ends_however_many_hosts_are_silent() {
    let port = port().await;
    let hosts: Vec<String> = (2..30).map(|n| format!("h{n}.example")).collect();
    let exchangers: Vec<_> = hosts.iter().map(|host| (1, host.as_str())).collect();
    let mut names = Names::default().mx("d.example", &exchangers);
    let mut peers = Vec::new();
    for (n, host) in (2..).zip(&hosts) {
        let address = format!("127.0.0.{n}");
        names = names.host(host, &[&address]);
        peers.push(peer_at((&address, port), &[&[Hang]]).await);
    }
    let agent = SmtpAgent::with_resolver(on_loopback(hasty()), Arc::new(names));
    let start = Instant::now();
    let report = delivered(&agent, &[mx(port)]).await;
    let AttemptResult::NoConnection { error } = &report.result else {
        panic!("{}", report.result)
    };
    assert_eq!(error.matches("no greeting").count(), 5, "{error}");
    assert!(start.elapsed() >= Duration::from_millis(5 * 300));
}

fn decision(report: &AttemptReport) -> OnError {
    Decisions::by_default(report).message
}

#[tokio::test]
async fn a_permanent_dns_error_counts_only_without_another_reason() {
    let port = port().await;
    let mx = mx(port);
    let report = delivered(&agent(Names::default()), std::slice::from_ref(&mx)).await;
    let AttemptResult::Refused {
        stage: Stage::Route,
        reply,
    } = &report.result
    else {
        panic!("{}", report.result)
    };
    assert_eq!(reply.to_string(), "550 5.1.2 the domain d.example does not exist");
    assert_eq!(
        (decision(&report), peer_of(&report)),
        (OnError::FailPermanently, mx.to_string())
    );
    let dead: NextHop = format!("127.0.0.9:{port}").parse().unwrap();
    let two = [mx.clone(), dead];
    let one = &two[..1];
    let cases = [
        (Names::default().failing("d.example"), one),
        // A temporary failure of a second next hop.
        (Names::default(), &two),
        // A temporary failure of an exchanger, before one that does not exist.
        (
            Names::default()
                .mx("d.example", &[(1, "dead.example"), (2, "gone.example")])
                .host("dead.example", &["127.0.0.9"]),
            one,
        ),
        (
            Names::default()
                .mx("d.example", &[(1, "unknown.example"), (2, "gone.example")])
                .failing("unknown.example"),
            one,
        ),
    ];
    for (n, (names, hops)) in cases.into_iter().enumerate() {
        let report = delivered(&agent(names), hops).await;
        assert_eq!(decision(&report), OnError::TryLater, "{n}: {}", report.result);
    }
    // Another domain as a smart host: an error of the configuration.
    let smart = NextHop::mx("smart.example", port).unwrap();
    let report = delivered(&agent(Names::default()), &[smart]).await;
    assert_eq!(decision(&report), OnError::TryLater, "{}", report.result);
}

#[tokio::test]
async fn a_host_without_an_address_is_not_the_reason_where_another_one_cannot_take_the_message() {
    let port = port().await;
    // It offers no 8BITMIME.
    let _ = peer_at(("127.0.0.2", port), &[&[HELLO, Say(b"250 peer\r\n")]]).await;
    for hosts in [["gone.example", "old.example"], ["old.example", "gone.example"]] {
        let names = Names::default()
            .mx("d.example", &[(1, hosts[0]), (2, hosts[1])])
            .host("old.example", &["127.0.0.2"]);
        let job = job(&[mx(port)], &["b@d.example"], "ü\r\n".as_bytes());
        let report = deliver(&agent(names), job).await;
        assert!(
            report.result.to_string().contains("refused at route: 554 5.6.3"),
            "{}",
            report.result
        );
    }
}

#[tokio::test]
async fn hosts_without_an_address_do_not_hide_one_that_has_one() {
    let port = port().await;
    let _ = peer_at(("127.0.0.2", port), &[&TAKES]).await;
    let hosts: Vec<_> = (1..=8).map(|n| (n, format!("h{n}.example"))).collect();
    let hosts: Vec<_> = hosts.iter().map(|(n, host)| (*n, host.as_str())).collect();
    let names = Names::default()
        .mx("d.example", &hosts)
        .host("h8.example", &["127.0.0.2"]);
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(
        peer_of(&report),
        format!("h8.example:{port}"),
        "{}",
        report.result
    );
}

#[tokio::test]
async fn a_smart_host_by_name_has_its_addresses_from_the_resolver() {
    let port = port().await;
    let _ = peer_at(("127.0.0.2", port), &[&TAKES]).await;
    let names = Names::default().host("smart.example", &["127.0.0.9", "127.0.0.2"]);
    let smart: NextHop = format!("smart.example:{port}").parse().unwrap();
    // With the default configuration: only addresses of mail exchangers are ignored.
    let agent = SmtpAgent::with_resolver(config(), Arc::new(names));
    assert_eq!(
        code(&delivered(&agent, std::slice::from_ref(&smart)).await.result),
        250
    );
    let agent = SmtpAgent::with_resolver(config(), Arc::new(Names::default()));
    let report = delivered(&agent, &[smart]).await;
    let AttemptResult::NoConnection { error } = &report.result else {
        panic!("{}", report.result)
    };
    assert!(error.contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_kept_plaintext_session_is_not_used_for_a_domain_that_enforces_tls() {
    let port = port().await;
    let twice = [TAKES.as_slice(), &[OK, OK, GO, Body(b"250 ok\r\n")]].concat();
    let seen = peer_at(("127.0.0.2", port), &[&twice]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .mx("e.example", &[(1, "host.example")])
        .host("host.example", &["127.0.0.2"]);
    names.set_texts("_mta-sts.d.example", Ok(&["v=STSv1; id=1;"]));
    let (names, config) = (Arc::new(names), on_loopback(config()));
    let policy = one_text("version: STSv1\nmode: enforce\nmx: host.example\nmax_age: 9\n");
    let routes = Routes::new(names.clone(), &config);
    let routes = routes.with_policies(PolicyCache::new(names, policy));
    let agent = SmtpAgent::over(config, routes);
    let hop = |domain| NextHop::mx(domain, port).unwrap();
    assert_eq!(code(&delivered(&agent, &[hop("e.example")]).await.result), 250);
    let report = delivered(&agent, &[hop("d.example")]).await;
    assert_eq!(decision(&report), OnError::TryLater, "{}", report.result);
    assert!(report.result.to_string().contains("TLS"), "{}", report.result);
    assert_eq!(seen.bodies.lock().unwrap().len(), 1);
}

#[test]
fn an_agent_can_be_made_where_no_runtime_is() {
    let agent = SmtpAgent::new(config());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dead: NextHop = "127.0.0.9:9".parse().unwrap();
    let report = runtime.block_on(delivered(&agent, &[dead]));
    assert!(
        matches!(report.result, AttemptResult::NoConnection { .. }),
        "{}",
        report.result
    );
}
