//! Mail exchangers on real sockets: one port, and an address of 127/8 for each host.

use super::peer::{Act, Act::Body, Act::Close, Act::Hang, Act::Say, EHLO, GO, HELLO, OK, peer_at};
use super::{code, config, deliver, hasty, job};
use crate::client::resolve::Routes;
use crate::client::resolve::tests::Names;
use crate::client::sts::PolicyCache;
use crate::client::sts::tests::OneText;
use crate::client::{SmtpAgent, SmtpConfig};
use spool_core::disposition::Decisions;
use spool_core::{AttemptReport, AttemptResult, DeliveryAgent, NextHop, OnError, Stage};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const TAKES: [Act; 6] = [HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];

/// On loopback, where mail exchangers are not expected.
pub(super) fn on_loopback(mut config: SmtpConfig) -> SmtpConfig {
    config.route.ignored_networks.clear();
    config
}

fn agent(names: Names) -> SmtpAgent {
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

fn mx(port: u16) -> NextHop {
    NextHop::mx("d.example", port).unwrap()
}

async fn delivered(agent: &SmtpAgent, hops: &[NextHop]) -> AttemptReport {
    deliver(agent, job(hops, &["b@d.example"], b"x\r\n")).await
}

fn peer_of(report: &AttemptReport) -> String {
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
async fn the_next_address_of_a_host_is_tried_when_one_takes_the_connection_and_has_no_session() {
    for refusal in [Say(b"421 4.3.2 busy\r\n"), Say(b"554 no service\r\n"), Close] {
        let port = port().await;
        let sick = peer_at(("127.0.0.2", port), &[&[refusal]]).await;
        let well = peer_at(("127.0.0.3", port), &[&TAKES]).await;
        let names = Names::default()
            .mx("d.example", &[(1, "host.example")])
            .host("host.example", &["127.0.0.2", "127.0.0.3"]);
        let report = delivered(&agent(names), &[mx(port)]).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert_eq!(sick.from.lock().unwrap().len(), 1);
        assert_eq!(well.bodies(), 1);
    }
}

/// How a delivery ends at a host whose first address has this script and whose second one takes everything; and how many connections the
/// second one had.
async fn at_two_addresses(script: &[Act], by_mx: bool) -> (AttemptReport, usize) {
    let port = port().await;
    let _sick = peer_at(("127.0.0.2", port), &[script]).await;
    let well = peer_at(("127.0.0.3", port), &[&TAKES]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .host("host.example", &["127.0.0.2", "127.0.0.3"]);
    let smart = format!("host.example:{port}").parse().unwrap();
    let hop = if by_mx { mx(port) } else { smart };
    let report = delivered(&agent(names), &[hop]).await;
    let connections = well.from.lock().unwrap().len();
    (report, connections)
}

#[tokio::test]
async fn the_next_address_of_a_host_is_tried_when_one_does_not_take_the_message_now() {
    let later = || Say(b"452 4.3.1 no space\r\n");
    let bye = || Say(b"421 4.3.2 shutting down\r\n");
    let scripts: [&[Act]; 7] = [
        &[HELLO, EHLO, later(), OK, OK],
        &[HELLO, EHLO, bye()],
        &[HELLO, EHLO, Close],
        &[HELLO, EHLO, OK, bye()],
        &[HELLO, EHLO, OK, OK, later()],
        &[HELLO, EHLO, OK, OK, Close],
        &[HELLO, EHLO, OK, OK, GO, Body(b"451 4.3.0 later\r\n")],
    ];
    for (n, script) in scripts.into_iter().enumerate() {
        for by_mx in [true, false] {
            let (report, connections) = at_two_addresses(script, by_mx).await;
            assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
            assert_eq!(connections, 1, "{n}");
            let [before] = report.before.as_slice() else {
                panic!("{n}: {:?}", report.before);
            };
            assert_eq!(before.report.address, Some([127, 0, 0, 2].into()), "{n}");
            assert_eq!(before.report.peer, report.peer, "{n}");
        }
    }
}

#[tokio::test]
async fn no_other_address_is_tried_for_what_is_said_for_good_or_of_the_sender_or_of_recipients_or_in_doubt() {
    let scripts: [(&[Act], &str); 5] = [
        (&[HELLO, EHLO, Say(b"550 5.7.1 no\r\n"), OK, OK], "550"),
        (&[HELLO, EHLO, Say(b"450 4.7.28 slow down\r\n"), OK, OK], "4.7.28"),
        (
            &[HELLO, EHLO, OK, Say(b"450 4.7.1 greylisted\r\n"), OK],
            "all recipients refused",
        ),
        (&[HELLO, EHLO, OK, OK, Say(b"554 5.7.1 no\r\n")], "554"),
        (&[HELLO, EHLO, OK, OK, GO, Body(b"")], "final reply"),
    ];
    for (script, expected) in scripts {
        let (report, connections) = at_two_addresses(script, true).await;
        let told = report.result.to_string();
        assert!(told.contains(expected), "{expected}: {told}");
        assert_eq!((connections, report.before.len()), (0, 0), "{expected}");
    }
}

#[tokio::test]
async fn three_addresses_of_a_host_are_asked_to_take_a_message() {
    let port = port().await;
    let mut peers = Vec::new();
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    let full = [HELLO, EHLO, Say(b"452 4.3.1 no space\r\n"), OK, OK];
    for address in addresses {
        peers.push(peer_at((address, port), &[&full]).await);
    }
    let names = Names::default()
        .mx("d.example", &[(1, "many.example")])
        .host("many.example", &addresses);
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(code(&report.result), 452, "{}", report.result);
    let asked = peers
        .iter()
        .filter(|seen| !seen.from.lock().unwrap().is_empty())
        .count();
    assert_eq!((asked, report.before.len()), (3, 2));
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

/// A port of 127.0.0.2 whose connections are neither taken nor refused: its queue is full.
async fn blackhole() -> (u16, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < 100 {
        match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (address.port(), listener, waiting),
        }
    }
    panic!("a queue of one took {} connections", waiting.len());
}

#[tokio::test]
async fn an_address_that_does_not_answer_holds_nobody_up() {
    let (port, _listener, _waiting) = blackhole().await;
    let _ = peer_at(("127.0.0.3", port), &[&TAKES]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .host("host.example", &["127.0.0.2", "127.0.0.3"]);
    let start = Instant::now();
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(
        (code(&report.result), peer_of(&report)),
        (250, format!("host.example:{port}"))
    );
    // Far from the ten seconds of the connection's limit.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
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
    let attempts: Vec<_> = domains
        .iter()
        .map(|domain| {
            let job = job(&[NextHop::mx(domain, port).unwrap()], &["b@x"], b"x\r\n");
            tokio::spawn(agent.deliver(job))
        })
        .collect();
    for attempt in attempts {
        let result = attempt.await.unwrap().result;
        let tried = result.to_string().contains("no greeting");
        let not_begun = matches!(result, AttemptResult::NotBegun { .. });
        assert!(tried || not_begun, "{result}");
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
async fn what_dns_says_for_good_ends_a_message_only_where_nothing_else_is_the_reason() {
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
        // A second next hop that may come back.
        (Names::default(), &two),
        // An exchanger that may come back, before one that never was.
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
    // Somebody else's domain as a smart host: a mistake in a configuration.
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
    // As configured by default: what is ignored are the addresses of mail exchangers.
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
    let policy = OneText("version: STSv1\nmode: enforce\nmx: host.example\nmax_age: 9\n");
    let routes = Routes::new(names.clone(), &config);
    let routes = routes.with_policies(PolicyCache::new(names, Arc::new(policy)));
    let agent = SmtpAgent::over(config, Arc::new(routes));
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

#[tokio::test]
async fn three_addresses_of_a_host_may_refuse_the_session() {
    let port = port().await;
    let mut peers = Vec::new();
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    for address in addresses {
        peers.push(peer_at((address, port), &[&[Say(b"421 4.3.2 busy\r\n"), Close]]).await);
    }
    let names = Names::default().host("many.example", &addresses);
    let hop: NextHop = format!("many.example:{port}").parse().unwrap();
    let report = delivered(&agent(names), &[hop]).await;
    assert_eq!(code(&report.result), 421, "{}", report.result);
    let asked = peers
        .iter()
        .filter(|seen| !seen.from.lock().unwrap().is_empty())
        .count();
    assert_eq!(asked, 3);
}
