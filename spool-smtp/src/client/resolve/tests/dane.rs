//! The effect of DANE on routes: the decisions of RFC 7672 section 2, with scripted lookups.

use super::super::{LookupError, RouteConfig, Routes};
use super::Names;
use crate::client::config::SmtpConfig;
use crate::client::dane::{Tlsa, record};
use crate::client::sts::PolicyCache;
use crate::client::sts::tests::one_text;
use spool_core::NextHop;
use std::sync::Arc;

fn usable() -> Vec<Tlsa> {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    vec![record([3, 1, 1], made.cert.der())]
}

fn unusable() -> Vec<Tlsa> {
    let mut records = usable();
    records[0].usage = 1;
    records
}

/// A domain with one exchanger; the names in `secure` are validated.
fn names(secure: &[&str], records: Result<Vec<Tlsa>, LookupError>) -> Names {
    let names = Names::default()
        .mx("d.example", &[(10, "a.example")])
        .host("a.example", &["192.0.2.1"])
        .secure(secure);
    names.set_tlsa("_25._tcp.a.example", records);
    names
}

const ALL: [&str; 3] = ["d.example", "a.example", "_25._tcp.a.example"];

/// The route to `hop`, host by host: `host tls [base]`, or the reply for a host that is passed over; and the lookups.
async fn way(names: Names, hop: &str, dane: bool, sts: Option<&'static str>) -> (Vec<String>, Vec<String>) {
    let config = RouteConfig {
        dane,
        ..RouteConfig::default()
    };
    way_with(Arc::new(names), config, hop, sts).await
}

async fn way_with(
    names: Arc<Names>,
    config: RouteConfig,
    hop: &str,
    sts: Option<&'static str>,
) -> (Vec<String>, Vec<String>) {
    let config = SmtpConfig {
        hostname: "relay.example".to_owned(),
        route: config,
        ..SmtpConfig::default()
    };
    let mut routes = Routes::new(names.clone(), &config);
    if let Some(text) = sts {
        names.set_texts("_mta-sts.d.example", Ok(&["v=STSv1; id=1;"]));
        routes = routes.with_policies(PolicyCache::new(names.clone(), one_text(text)));
    }
    let hop: NextHop = hop.parse().unwrap();
    let mut route = routes.to(&hop, true).await;
    let mut found = Vec::new();
    while let Some(target) = route.next().await {
        found.push(match target {
            Ok(target) => {
                let dane = target.dane.map_or("without".to_owned(), |dane| {
                    let kind = if dane.authenticates() { "by" } else { "any for" };
                    format!("{kind} {}", dane.base)
                });
                format!("{} {} {dane}", target.hop.host(), target.tls)
            }
            Err(unroutable) => unroutable.reply(true).to_string(),
        });
    }
    (found, names.asked())
}

async fn asked_for(secure: &[&str], records: Result<Vec<Tlsa>, LookupError>) -> String {
    let (mut found, _) = way(names(secure, records), "mx:d.example:25", true, None).await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test]
async fn only_validated_names_are_asked_for_tlsa_records() {
    let bogus = || Err(LookupError::Temporary("DNSSEC validation failed".to_owned()));
    let without = "a.example none without";
    assert_eq!(
        asked_for(&ALL, Ok(usable())).await,
        "a.example required by a.example"
    );
    assert_eq!(
        asked_for(&ALL, Ok(unusable())).await,
        "a.example required any for a.example"
    );
    assert_eq!(asked_for(&ALL, Err(LookupError::NoData)).await, without);
    assert_eq!(asked_for(&ALL, Err(LookupError::NoSuchDomain)).await, without);
    // After a failed lookup the host is passed over temporarily.
    let failed = asked_for(&ALL, bogus()).await;
    assert!(
        failed.starts_with("451 4.4.3 looking for the TLSA records of a.example: "),
        "{failed}"
    );
    // If one of the three is not validated, DANE does not apply.
    for missing in ALL {
        let secure: Vec<_> = ALL.into_iter().filter(|name| *name != missing).collect();
        assert_eq!(asked_for(&secure, Ok(usable())).await, without, "{missing}");
    }
    // TLSA records that would not be used are not looked up.
    for secure in [&["a.example"][..], &["d.example"]] {
        let (found, asked) = way(names(secure, bogus()), "mx:d.example:25", true, None).await;
        assert_eq!(found, [without]);
        assert_eq!(asked, ["mx d.example", "host a.example"]);
    }
}

#[tokio::test]
async fn no_policy_is_looked_up_unless_it_is_configured() {
    let (found, asked) = way(names(&ALL, Ok(usable())), "mx:d.example:25", false, None).await;
    assert_eq!(found, ["a.example none without"]);
    assert_eq!(asked, ["mx d.example", "host a.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_records_cannot_be_had_is_passed_over_and_the_next_one_tried() {
    for fails in [true, false] {
        let mut two = names(&ALL, Err(LookupError::Temporary("SERVFAIL".to_owned())))
            .mx("d.example", &[(10, "a.example"), (20, "b.example")])
            .host("b.example", &["192.0.2.2"]);
        if !fails {
            two = two.silent("_25._tcp.a.example");
        }
        let (found, _) = way(two, "mx:d.example:25", true, None).await;
        assert!(found[0].starts_with("451 4.4.3 "), "{found:?}");
        assert_eq!(found[1], "b.example none without");
    }
}

#[tokio::test]
async fn a_route_to_this_relay_ends_without_a_lookup_of_its_tlsa_records() {
    let names = names(&ALL, Err(LookupError::Temporary("SERVFAIL".to_owned())))
        .mx("d.example", &[(10, "a.example"), (20, "b.example")])
        .host("b.example", &["192.0.2.2"]);
    let config = RouteConfig {
        dane: true,
        listeners: vec!["192.0.2.1:25".parse().unwrap()],
        ..RouteConfig::default()
    };
    let (found, _) = way_with(Arc::new(names), config, "mx:d.example:25", None).await;
    assert!(
        found.len() == 1 && found[0].starts_with("550 5.4.6 "),
        "{found:?}"
    );
}

#[tokio::test]
async fn records_are_looked_for_where_an_alias_leads_and_then_at_the_host_itself() {
    let alias = |secure: &[&str]| names(secure, Ok(usable())).alias("a.example", "b.example");
    let secure = [
        "d.example",
        "a.example",
        "_25._tcp.a.example",
        "b.example",
        "_25._tcp.b.example",
    ];
    let (found, _) = way(alias(&secure), "mx:d.example:25", true, None).await;
    assert_eq!(found, ["a.example required by a.example"]);
    let both = alias(&secure);
    both.set_tlsa("_25._tcp.b.example", Ok(usable()));
    let (found, _) = way(both, "mx:d.example:25", true, None).await;
    assert_eq!(found, ["a.example required by b.example"]);
    // An alias into an unsigned zone: the TLSA records at the name of the host are used.
    let (found, asked) = way(alias(&secure[..3]), "mx:d.example:25", true, None).await;
    assert_eq!(found, ["a.example required by a.example"]);
    assert_eq!(asked.last().unwrap(), "tlsa _25._tcp.a.example");
    let gone = alias(&secure);
    gone.set_tlsa(
        "_25._tcp.b.example",
        Err(LookupError::Temporary("SERVFAIL".to_owned())),
    );
    let (found, _) = way(gone, "mx:d.example:25", true, None).await;
    assert!(found[0].starts_with("451 "), "{found:?}");
}

#[tokio::test]
async fn hosts_without_an_exchanger_and_smart_hosts_are_held_to_theirs_too() {
    let own = || names(&ALL, Ok(usable())).mx("a.example", &[]);
    let (found, _) = way(own(), "mx:a.example:25", true, None).await;
    assert_eq!(found, ["a.example required by a.example"]);
    let (found, _) = way(own(), "a.example:25", true, None).await;
    assert_eq!(found, ["a.example required by a.example"]);
    // Another port has other TLSA records.
    let (found, asked) = way(own(), "a.example:587", true, None).await;
    assert_eq!(found, ["a.example none without"]);
    assert_eq!(asked.last().unwrap(), "tlsa _587._tcp.a.example");
    let (found, asked) = way(own(), "192.0.2.1:25", true, None).await;
    assert_eq!((found.len(), asked.len()), (1, 0));
    let failing = Names::default().failing("a.example");
    let (found, _) = way(failing, "a.example:25", true, None).await;
    assert!(
        found[0].starts_with("451 4.4.3 looking for a.example: "),
        "{found:?}"
    );
}

#[tokio::test]
async fn dane_takes_precedence_over_mta_sts_if_it_has_a_usable_record() {
    const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 9\n";
    const OTHERS: &str = "version: STSv1\nmode: enforce\nmx: b.example\nmax_age: 9\n";
    let dane = "a.example required by a.example";
    for (records, policy, expected) in [
        (Ok(usable()), ENFORCE, dane),
        (Ok(usable()), OTHERS, dane),
        (Ok(unusable()), ENFORCE, "a.example verify any for a.example"),
        (Ok(unusable()), OTHERS, "451 4.7.0 "),
        (Err(LookupError::NoData), ENFORCE, "a.example verify without"),
        // An MTA-STS policy does not replace TLSA records whose lookup fails.
        (
            Err(LookupError::Temporary("SERVFAIL".to_owned())),
            ENFORCE,
            "451 4.4.3 ",
        ),
    ] {
        let (found, _) = way(names(&ALL, records), "mx:d.example:25", true, Some(policy)).await;
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{expected}: {found:?}"
        );
    }
}
