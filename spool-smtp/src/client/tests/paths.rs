//! Sessions and limits of paths, which several domains may share.

use super::exchangers::{on_loopback, port};
use super::peer::Act::Say;
use super::peer::{Act, EHLO, GO, HELLO, OK, TAKEN, peer, peer_at};
use super::pool::twice;
use super::{code, config, deliver, job, path};
use crate::client::resolve::tests::Names;
use crate::client::{Lookup, SmtpAgent};
use futures_util::future::join_all;
use spool_core::{DeliveryAgent, DestinationPolicy, NextHop, PathLookup, Rate, TlsPolicy};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A session for all messages of a test.
fn patient() -> Vec<Act> {
    let many = (0..100).flat_map(|_| [OK, OK, GO, TAKEN]);
    [HELLO, EHLO].into_iter().chain(many).collect()
}

#[tokio::test]
async fn the_domains_of_one_path_share_its_sessions_and_their_limit() {
    let port = port().await;
    let seen = peer_at(("127.0.0.2", port), &[&patient()]).await;
    let domains: Vec<String> = (0..40).map(|n| format!("d{n}.example")).collect();
    let exchangers = [(1, "host.example"), (2, "backup.example")];
    let names = Names::default().host("host.example", &["127.0.0.2"]);
    let names = domains
        .iter()
        .fold(names, |names, domain| names.mx(domain, &exchangers));
    let mut config = on_loopback(config());
    config.connections_per_destination = 2;
    let agent = SmtpAgent::with_resolver(config, Arc::new(names));
    let attempts = domains.iter().map(|domain| {
        let hop = NextHop::mx(domain, port).unwrap();
        deliver(&agent, job(&[hop], &["b@x"], b"x\r\n"))
    });
    for report in join_all(attempts).await {
        assert_eq!(code(&report.result), 250, "{}", report.result);
    }
    assert_eq!(seen.bodies(), 40);
    assert_eq!(seen.count("EHLO"), 2, "{:?}", agent.snapshot());
    let shown = agent.snapshot();
    let hosts = ["host.example", "backup.example"].map(|host| format!("{host}:{port}").parse().unwrap());
    assert_eq!(shown.destinations.len(), 1, "{shown:?}");
    assert_eq!(shown.destinations[0].route.as_deref(), Some(hosts.as_slice()));
    assert_eq!(
        (shown.destinations[0].limit, shown.destinations[0].reused),
        (2, 38)
    );
}

#[tokio::test]
async fn a_domain_has_the_path_of_a_route_to_its_exchangers() {
    let names = Names::default()
        .mx("d.example", &[(10, "b.example"), (10, "a.example")])
        .mx("e.example", &[(5, "a.example"), (7, "b.example")]);
    let agent = SmtpAgent::with_resolver(config(), Arc::new(names));
    let hops = |hops: &[&str]| {
        hops.iter()
            .map(|hop| hop.parse().unwrap())
            .collect::<Arc<[NextHop]>>()
    };
    let by_name = hops(&["a.example:25", "b.example:25"]);
    assert!(matches!(agent.path(&by_name), PathLookup::Known(path) if path == by_name));
    for domain in ["mx:d.example:25", "mx:e.example:25"] {
        assert_eq!(path(&agent, &hops(&[domain])).await, by_name);
    }
}

#[tokio::test]
async fn a_policy_of_its_own_makes_a_path_of_its_own_without_a_question() {
    let names = Arc::new(Names::default().mx("d.example", &[(1, "host.example")]));
    let (own, other) = ("mx:d.example:25", "mx:d.example:26");
    let rate = Rate {
        messages: NonZeroU32::MIN,
        per: Duration::from_secs(1),
    };
    let policies: [fn(&mut DestinationPolicy, Rate); 3] = [
        |policy, _| policy.max_connections = Some(NonZeroU32::MIN),
        |policy, rate| policy.rate = Some(rate),
        |policy, _| policy.tls = Some(TlsPolicy::Verify),
    ];
    for set in policies {
        let mut config = config();
        config.policies = Lookup::new(move |hops: &[NextHop]| {
            let mut policy = DestinationPolicy::default();
            // The default policy makes no separate path.
            policy.tls = Some(TlsPolicy::Required);
            if hops == [own.parse().unwrap()] {
                set(&mut policy, rate);
            }
            policy
        });
        let agent = SmtpAgent::with_resolver(config, names.clone());
        let hops: Arc<[NextHop]> = [own.parse().unwrap()].into();
        assert!(matches!(agent.path(&hops), PathLookup::Known(path) if path == hops));
        let found = path(&agent, &[other.parse().unwrap()]).await;
        assert_eq!(found.as_ref(), ["host.example:26".parse().unwrap()]);
    }
    assert_eq!(names.asked(), ["mx d.example"; 3]);
}

#[tokio::test]
async fn a_path_at_its_limit_ends_an_idle_session_with_another_host_of_it() {
    let (first, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN, Say(b"451 4.3.0 later\r\n")]]).await;
    let (second, _) = peer(&[&twice()]).await;
    let mut config = config();
    config.connections_per_destination = 1;
    let agent = SmtpAgent::new(config);
    let both = [first.clone(), second.clone()];
    let mut sent = Vec::new();
    for _ in 0..2 {
        let report = deliver(&agent, job(&both, &["b@x"], b"x\r\n")).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        sent.push(report.peer.unwrap());
        let shown = agent.snapshot();
        assert_eq!((shown.open, shown.destinations.len()), (1, 1), "{shown:?}");
    }
    // In the second attempt the first host refuses temporarily, and its session is closed to make room for one with the other.
    assert_eq!(sent, [first, second]);
    assert_eq!(seen.bodies(), 1);
}
