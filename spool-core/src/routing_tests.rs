//! Tests of routes: patterns, the router, and the routing of a service.

use super::*;
use crate::destination::DestinationPolicy;
use crate::destination::TlsPolicy;
use crate::domain_pattern::DomainPattern;
use crate::envelope::ReversePath;
use crate::message::Section;
use crate::retry::RetryPolicy;
use crate::router::{RouteReason, Rule};

fn rule(domain: &str, to: &[&str], tls: Option<TlsPolicy>) -> Rule {
    Rule {
        domain: DomainPattern::parse(domain).unwrap(),
        next_hops: to.iter().map(|hop| hop.parse().unwrap()).collect(),
        policy: DestinationPolicy {
            tls,
            ..DestinationPolicy::default()
        },
    }
}

/// The sections for mail to these addresses: their next hops, and their recipients' local parts.
fn shape(router: &Router, to: &[&str]) -> Vec<(String, String)> {
    let envelope = Envelope::of(ReversePath::Null, to.iter().map(|t| t.parse().unwrap()));
    let sections = router.split(envelope, &RetryPolicy::default()).into_iter();
    let text = |section: Section| {
        let hops: Vec<_> = section.next_hops.iter().map(ToString::to_string).collect();
        let recipients = section.envelope.recipients.iter();
        let names = recipients.map(|recipient| recipient.address.local_part());
        (hops.join(" "), names.collect())
    };
    sections.map(text).collect()
}

fn pairs<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into()
}

#[test]
fn recipients_are_grouped_by_where_they_go() {
    let rules = vec![
        rule("example.org", &["a:25"], None),
        rule("*.example.org", &["b:25", "c:25"], None),
        rule("other.net", &["a:25"], None),
    ];
    let router = Router::new(rules, ["smart:25".parse().unwrap()].into(), 25);
    let to = [
        "1@example.org",
        "2@x.Example.ORG",
        "3@else.where",
        "4@OTHER.net",
        "5@notexample.org",
    ];
    let expected = [("a:25", "14"), ("b:25 c:25", "2"), ("smart:25", "35")];
    assert_eq!(shape(&router, &to), pairs(expected));
}

#[test]
fn without_smart_hosts_each_domain_is_a_destination() {
    let rules = vec![
        rule("smart.example", &["smart:25"], None),
        rule("*.smart.example", &["smart:25"], None),
        rule("b.example", &[], None),
    ];
    let router = Router::new(rules, Arc::new([]), 2525);
    let to = [
        "1@a.example",
        "2@b.example",
        "3@A.example",
        "4@[192.0.2.7]",
        "5@smart.example",
        "6@x.smart.example",
        "7@bücher.example",
        "8@xn--bcher-kva.EXAMPLE",
    ];
    let expected = [
        ("mx:a.example:2525", "13"),
        ("mx:b.example:2525", "2"),
        ("192.0.2.7:2525", "4"),
        ("smart:25", "56"),
        ("mx:xn--bcher-kva.example:2525", "78"),
    ];
    assert_eq!(shape(&router, &to), pairs(expected));
}

#[test]
fn a_rule_without_next_hops_leads_past_the_smart_hosts() {
    let rules = vec![rule("*.direct.example", &[], None)];
    let router = Router::new(rules, ["smart:25".parse().unwrap()].into(), 25);
    let to = ["1@x.direct.example", "2@direct.example", "3@y.direct.example"];
    let expected = [
        ("mx:x.direct.example:25", "1"),
        ("smart:25", "2"),
        ("mx:y.direct.example:25", "3"),
    ];
    assert_eq!(shape(&router, &to), pairs(expected));
}

#[test]
fn the_policy_of_a_destination_is_that_of_its_first_rule() {
    let [required, verify, none] = [TlsPolicy::Required, TlsPolicy::Verify, TlsPolicy::None].map(Some);
    let rules = vec![
        rule("a.example", &["a:25", "b:25"], required),
        rule("[192.0.2.7]", &[], none),
        rule("bücher.example", &[], verify),
        rule("*.example", &[], required),
    ];
    let router = Router::new(rules, Arc::new([]), 25);
    for (recipient, expected) in [
        ("x@a.example", required),
        ("x@[192.0.2.7]", none),
        ("x@[192.0.2.8]", None),
        ("x@xn--bcher-kva.example", verify),
        ("x@c.example", required),
        ("x@example.net", None),
    ] {
        let hops = router.next_hops(&recipient.parse().unwrap());
        assert_eq!(router.policy(&hops).tls, expected, "{recipient}");
    }
    let reversed: Vec<NextHop> = ["b:25", "a:25"].map(|hop| hop.parse().unwrap()).into();
    assert_eq!(router.policy(&reversed).tls, None);
}

fn routing(rules: Vec<Rule>, default: &[&str]) -> Routing {
    let default = default.iter().map(|hop| hop.parse().unwrap()).collect();
    Routing::ByRules(Arc::new(Router::new(rules, default, 25)))
}

/// The groups of configured mail to these addresses, of which those in `remaining` are left.
fn groups(routing: &Routing, to: &[&str], remaining: &[u32]) -> Vec<(String, Vec<u32>)> {
    let envelope = Envelope::of(ReversePath::Null, to.iter().map(|t| t.parse().unwrap()));
    let spooled: Arc<[NextHop]> = ["spooled:25".parse().unwrap()].into();
    let groups = routing.groups(RouteOrigin::Configured, &spooled, &envelope, remaining);
    let text = |group: RouteGroup| {
        let hops: Vec<_> = group.next_hops.iter().map(ToString::to_string).collect();
        (hops.join(" "), group.recipients)
    };
    groups.into_iter().map(text).collect()
}

#[test]
fn remaining_recipients_are_grouped_by_current_routes() {
    let now = routing(vec![rule("a.example", &["a:25"], None)], &["smart:25"]);
    let to = ["0@a.example", "1@b.example", "2@a.example", "3@c.example"];
    let smart = || "smart:25".to_owned();
    let expected = [("a:25".to_owned(), vec![0, 2]), (smart(), vec![1, 3])];
    assert_eq!(groups(&now, &to, &[0, 1, 2, 3]), expected);
    assert_eq!(groups(&now, &to, &[3, 1]), [(smart(), vec![3, 1])]);
    assert_eq!(groups(&now, &to, &[]), []);
    let only = routing(vec![], &["smart:25"]);
    assert_eq!(groups(&only, &to, &[0, 1]), [(smart(), vec![0, 1])]);
    let spooled = || "spooled:25".to_owned();
    assert_eq!(
        groups(&Routing::AsSpooled, &to, &[0, 1]),
        [(spooled(), vec![0, 1])]
    );
}

#[test]
fn the_origin_of_a_route_decides_what_routes_it() {
    let hop = |text: &str| -> Arc<[NextHop]> { [text.parse().unwrap()].into() };
    let (spooled, sink) = (hop("spooled:25"), hop("127.0.0.1:9"));
    let rules = routing(vec![rule("a.example", &["a:25"], None)], &["smart:25"]);
    let smart = routing(vec![], &["smart:25"]);
    let to_sink = Routing::ToBuiltInSink(Arc::clone(&sink));
    let nowhere: Arc<[NextHop]> = [].into();
    use RouteOrigin::{BuiltInSink, Configured, Named};
    for (routing, origin, expected) in [
        (&rules, Named, Some(&spooled)),
        (&to_sink, Named, Some(&spooled)),
        (&Routing::AsSpooled, Named, Some(&spooled)),
        (&rules, Configured, None),
        (&smart, Configured, Some(&hop("smart:25"))),
        (&Routing::AsSpooled, Configured, Some(&spooled)),
        // The sink forgets what it takes.
        (&to_sink, Configured, Some(&nowhere)),
        (&to_sink, BuiltInSink, Some(&sink)),
        // Nobody meant this mail for the world.
        (&rules, BuiltInSink, Some(&nowhere)),
        (&Routing::AsSpooled, BuiltInSink, Some(&nowhere)),
    ] {
        let found = routing.without_recipients(origin, &spooled);
        assert_eq!(found.as_ref(), expected, "{routing:?} {origin}");
    }
}

#[test]
fn a_route_says_which_rule_it_is_from() {
    let rules = vec![
        rule("*.example", &["below:25"], None),
        rule("a.example", &["never:25"], None),
        rule("b.test", &[], None),
        rule("*.b.test", &["deep:25"], None),
    ];
    let router = Router::new(rules.clone(), ["smart:25".parse().unwrap()].into(), 25);
    for (recipient, hop, reason) in [
        ("x@a.example", "below:25", RouteReason::Rule(0)),
        ("x@a.b.EXAMPLE", "below:25", RouteReason::Rule(0)),
        ("x@b.test", "mx:b.test:25", RouteReason::Rule(2)),
        ("x@c.b.test", "deep:25", RouteReason::Rule(3)),
        ("x@example", "smart:25", RouteReason::Default),
    ] {
        let (hops, found) = router.route(&recipient.parse().unwrap());
        assert_eq!(
            (hops[0].to_string().as_str(), found),
            (hop, reason),
            "{recipient}"
        );
    }
    let router = Router::new(rules, [].into(), 25);
    let (_, found) = router.route(&"x@example".parse().unwrap());
    assert_eq!(found, RouteReason::Exchangers);
}

proptest::proptest! {
    #[test]
    fn the_rule_that_is_found_is_the_first_that_matches(
        patterns in proptest::collection::vec("(\\*\\.)?([ab]\\.){0,3}[ab]", 0..12),
        domain in "([ab]\\.){0,4}[ab]",
    ) {
        let rules: Vec<_> = patterns.iter().map(|pattern| rule(pattern, &["x:25"], None)).collect();
        let first = rules.iter().position(|rule| rule.domain.matches(&domain));
        let router = Router::new(rules, Arc::new([]), 25);
        proptest::prop_assert_eq!(router.rule_for(&domain), first);
    }
}
