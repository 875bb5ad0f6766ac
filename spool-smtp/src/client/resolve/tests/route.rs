//! Which hosts are tried for a next hop, and in which order.

use super::super::{RouteConfig, Routes};
use super::Names;
use crate::client::SmtpConfig;
use crate::client::sts::PolicyCache;
use crate::client::sts::tests::one_text;
use spool_core::NextHop;
use std::collections::BTreeSet;
use std::sync::Arc;

fn relay(route: RouteConfig) -> SmtpConfig {
    let mut config = SmtpConfig::default();
    (config.route, config.hostname) = (route, "relay.example".to_owned());
    config
}

/// The route to `hop`, host by host: `host address..`, or the reply for a host that is passed over.
async fn way(
    names: Names,
    config: RouteConfig,
    hop: &str,
    recipients_own: bool,
) -> (Vec<String>, Arc<Names>) {
    let names = Arc::new(names);
    let routes = Routes::new(names.clone(), &relay(config));
    let hop: NextHop = hop.parse().unwrap();
    let mut route = routes.to(&hop, recipients_own).await;
    let mut found = Vec::new();
    while let Some(target) = route.next().await {
        found.push(match target {
            Ok(target) => {
                let addresses = target.addresses.iter().flatten().map(|ip| format!(" {ip}"));
                format!("{}{}", target.hop, addresses.collect::<String>())
            }
            Err(unroutable) => unroutable.reply(recipients_own).to_string(),
        });
    }
    (found, names)
}

async fn way_to(names: Names, hop: &str) -> Vec<String> {
    way(names, RouteConfig::default(), hop, true).await.0
}

/// A relay that accepts mail on 192.0.2.2.
fn listening() -> RouteConfig {
    RouteConfig {
        listeners: vec!["192.0.2.2:25".parse().unwrap()],
        ..RouteConfig::default()
    }
}

const D: &str = "mx:d.example:25";

fn three() -> Names {
    Names::default()
        .mx(
            "d.example",
            &[(20, "c.example"), (5, "a.example"), (10, "b.example")],
        )
        .host("a.example", &["192.0.2.1", "2001:db8::1"])
        .host("b.example", &["192.0.2.2"])
        .host("c.example", &["192.0.2.3"])
}

#[tokio::test]
async fn no_mx_record_leads_to_a_name_of_this_hosts_surroundings() {
    let names = Names::default()
        .mx("d.example", &[(1, "intranet")])
        .host("intranet", &["192.0.2.1"]);
    let (found, names) = way(names, RouteConfig::default(), D, true).await;
    assert!(found[0].contains("5.4.4"), "{found:?}");
    assert_eq!(names.asked(), ["mx d.example"]);
    // The domain itself may be a name without a dot, because the sender or the configuration chose it.
    let names = Names::default()
        .mx("intranet", &[])
        .host("intranet", &["192.0.2.1"]);
    assert_eq!(way_to(names, "mx:intranet:25").await, ["intranet:25 192.0.2.1"]);
}

#[tokio::test]
async fn exchangers_are_tried_by_preference_and_looked_up_when_their_turn_comes() {
    let expected = [
        "a.example:25 192.0.2.1 2001:db8::1",
        "b.example:25 192.0.2.2",
        "c.example:25 192.0.2.3",
    ];
    assert_eq!(way_to(three(), D).await, expected);
    let names = Arc::new(three());
    let routes = Routes::new(names.clone(), &relay(RouteConfig::default()));
    let mut route = routes.to(&D.parse().unwrap(), true).await;
    assert!(route.next().await.unwrap().is_ok());
    assert_eq!(names.asked(), ["mx d.example", "host a.example"]);
}

#[tokio::test]
async fn equals_are_tried_in_any_order_and_at_most_five_in_all() {
    let hosts: Vec<String> = (0..100).map(|n| format!("h{n}.example")).collect();
    let mut first = BTreeSet::new();
    // The probability that one of two is first 60 times is 2^-60.
    for _ in 0..60 {
        let two = [(10, "h1.example"), (10, "h0.example"), (20, "h2.example")];
        let names = hosts
            .iter()
            .fold(Names::default().mx("d.example", &two), |names, host| {
                names.host(host, &["192.0.2.1"])
            });
        let found = way_to(names, D).await;
        assert_eq!(found[2], "h2.example:25 192.0.2.1");
        first.insert(found[0].clone());
    }
    assert_eq!(first.len(), 2);
    let hundred: Vec<_> = hosts.iter().map(|host| (10, host.as_str())).collect();
    let names = hosts
        .iter()
        .fold(Names::default().mx("d.example", &hundred), |names, host| {
            names.host(host, &["192.0.2.1"])
        });
    let (found, names) = way(names, RouteConfig::default(), D, true).await;
    // All hosts of one preference are looked up, because one of them may be this relay.
    assert_eq!((found.len(), names.asked().len()), (5, 33));
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_host() {
    let names = || Names::default().mx("d.example", &[]);
    let found = way_to(names().host("d.example", &["192.0.2.1"]), D).await;
    assert_eq!(found, ["d.example:25 192.0.2.1"]);
    let found = way_to(names().host("d.example", &[]), D).await;
    assert_eq!(
        found,
        ["550 5.4.4 d.example has no mail exchanger, and no address to send mail to"]
    );
}

#[tokio::test]
async fn permanent_answers_of_the_domain_are_permanent() {
    let found = way_to(Names::default(), D).await;
    assert_eq!(found, ["550 5.1.2 the domain d.example does not exist"]);
    let found = way_to(Names::default().mx("d.example", &[(0, "")]), D).await;
    assert_eq!(
        found,
        ["556 5.1.10 the domain d.example takes no mail (RFC 7505)"]
    );
    // A null MX beside others is invalid and is ignored.
    let names = Names::default().mx("d.example", &[(0, ""), (10, "a.example")]);
    let found = way_to(names.host("a.example", &["192.0.2.1"]), D).await;
    assert_eq!(found, ["a.example:25 192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_is_temporary_and_never_leads_to_the_domain_itself() {
    let names = Names::default()
        .failing("d.example")
        .host("d.example", &["192.0.2.1"]);
    let found = way_to(names, D).await;
    assert_eq!(
        found,
        ["451 4.4.3 looking for the mail exchangers of d.example: SERVFAIL"]
    );
    let found = way_to(Names::default().silent("d.example"), D).await;
    assert!(
        found[0].starts_with("451 4.4.3 ") && found[0].contains("in time"),
        "{found:?}"
    );
    let found = way_to(three().failing("a.example").silent("b.example"), D).await;
    assert!(
        found[0].starts_with("451 4.4.3 looking for a.example: "),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("451 4.4.3 looking for b.example: "),
        "{found:?}"
    );
    assert_eq!(found[2], "c.example:25 192.0.2.3");
}

#[tokio::test]
async fn exchangers_without_a_usable_address_are_passed_over() {
    let names = Names::default()
        .mx(
            "d.example",
            &[
                (1, "gone.example"),
                (2, "empty.example"),
                (3, "192.0.2.9"),
                (4, "loop.example"),
                (5, "a b.example"),
            ],
        )
        .host("empty.example", &[])
        .host("192.0.2.9", &["192.0.2.9"])
        .host(
            "loop.example",
            &["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"],
        )
        .host("a b.example", &["192.0.2.1"]);
    let found = way_to(names, D).await;
    assert_eq!(found.len(), 5);
    for reply in &found {
        assert!(
            reply.starts_with("550 5.4.4 ")
                && reply.contains(", a mail exchanger of d.example, has no address"),
            "{reply}"
        );
    }
}

#[tokio::test]
async fn the_route_ends_before_this_relay() {
    let loops = "550 5.4.6 mail for d.example would come back: ";
    let config = listening();
    // By address: the host, those of equal preference, and all after it are dropped.
    let names = || {
        three()
            .mx(
                "d.example",
                &[
                    (5, "a.example"),
                    (10, "b.example"),
                    (10, "e.example"),
                    (20, "c.example"),
                ],
            )
            .host("e.example", &["192.0.2.5"])
    };
    let (found, _) = way(names(), config.clone(), D, true).await;
    let expected = [
        "a.example:25 192.0.2.1 2001:db8::1".to_owned(),
        format!("{loops}b.example is this relay"),
    ];
    assert_eq!(found, expected);
    // By name: dropped hosts are not looked up.
    let relay = |preference| {
        let exchangers = [(5, "a.example"), (preference, "relay.example"), (20, "c.example")];
        three().mx("d.example", &exchangers)
    };
    let (found, names) = way(relay(10), config.clone(), D, true).await;
    assert_eq!(found, expected[..1]);
    assert_eq!(names.asked(), ["mx d.example", "host a.example"]);
    let (found, _) = way(relay(5), config.clone(), D, true).await;
    assert_eq!(found, [format!("{loops}relay.example is this relay")]);
    // Another server may listen on another port.
    let (found, _) = way(names_of_relay(), config.clone(), "mx:d.example:26", true).await;
    assert_eq!(found, ["relay.example:26 192.0.2.2"]);
    // The domain may be this host's own name.
    let (found, _) = way(
        Names::default().mx("relay.example", &[]),
        config,
        "mx:relay.example:25",
        true,
    )
    .await;
    assert!(found[0].starts_with("550 5.4.6 "), "{found:?}");
}

fn names_of_relay() -> Names {
    Names::default()
        .mx("d.example", &[(10, "relay.example")])
        .host("relay.example", &["192.0.2.2"])
}

#[tokio::test]
async fn an_address_literal_is_held_to_the_same_rules_and_a_configured_host_is_not() {
    let config = listening();
    for (hop, expected) in [
        ("192.0.2.1:25", "192.0.2.1:25 192.0.2.1"),
        ("127.0.0.1:25", "550 5.4.4 "),
        ("192.0.2.2:25", "550 5.4.6 "),
    ] {
        let (found, _) = way(Names::default(), config.clone(), hop, true).await;
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{hop}: {found:?}"
        );
        let (found, names) = way(Names::default(), config.clone(), hop, false).await;
        assert_eq!((found, names.asked().len()), (vec![hop.to_owned()], 0));
    }
}

#[tokio::test]
async fn a_configured_next_hop_is_never_the_fault_of_the_message() {
    for (names, expected) in [
        (Names::default(), "451 4.1.2 "),
        (Names::default().mx("d.example", &[(0, "")]), "451 4.1.10 "),
        (
            Names::default().mx("d.example", &[(1, "gone.example")]),
            "451 4.4.4 ",
        ),
    ] {
        let (found, _) = way(names, RouteConfig::default(), D, false).await;
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[tokio::test]
async fn under_an_enforced_policy_only_its_hosts_are_tried_and_only_with_verified_tls() {
    for (text, expected) in [
        (
            "version: STSv1\nmode: enforce\nmx: b.example\nmax_age: 9\n",
            ["451", "verify", "451"],
        ),
        (
            "version: STSv1\nmode: testing\nmx: b.example\nmax_age: 9\n",
            ["none", "none", "none"],
        ),
        ("no policy", ["none", "none", "none"]),
    ] {
        let names = Arc::new(three());
        names.set_texts("_mta-sts.d.example", Ok(&["v=STSv1; id=1;"]));
        let policies = PolicyCache::new(names.clone(), one_text(text));
        let routes = Routes::new(names, &relay(RouteConfig::default())).with_policies(policies);
        let mut route = routes.to(&D.parse().unwrap(), true).await;
        for expected in expected {
            match route.next().await.unwrap() {
                Ok(target) => assert_eq!(target.tls.to_string(), expected, "{text}"),
                Err(unroutable) => {
                    let reply = unroutable.reply(true).to_string();
                    assert!(
                        reply.starts_with("451 4.7.0 the MTA-STS policy of d.example"),
                        "{reply}"
                    );
                    assert_eq!(expected, "451", "{text}");
                }
            }
        }
    }
}
