//! Where a recipient's mail goes: the next hops of the first rule that matches its domain, or the smart hosts, or the mail
//! exchangers of the domain. And what is asked of the way there.
//!
//! Mail whose next hops its submitter named keeps them. All other mail is resolved when it is to be sent, by the [`Routing`] of
//! that time. Recipients of one mail with the same next hops stay together, so that one transaction carries them all.

use crate::address::Address;
use crate::attempt::RecipientIndex;
use crate::destination::DestinationPolicy;
use crate::domain::a_labels;
use crate::envelope::{Envelope, Recipient};
use crate::message::{RouteOrigin, Section};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// `example.org`, or `*.example.org` for what is below it. Compared as A-labels, without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern {
    suffix: String,
    below: bool,
}

impl DomainPattern {
    /// Reads a pattern; `None` when it is no domain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (below, domain) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let valid = crate::address::valid_domain(domain) && !(below && domain.starts_with('['));
        valid.then(|| Self {
            suffix: a_labels(domain).into_owned(),
            below,
        })
    }

    /// Whether `domain` is meant.
    #[must_use]
    pub fn matches(&self, domain: &str) -> bool {
        self.matches_a_labels(&a_labels(domain))
    }

    /// Whether every domain that `other` means is meant by this one as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (true, true) if self.suffix == other.suffix => true,
            (false, true) => false,
            (true | false, _) => self.matches_a_labels(&other.suffix),
        }
    }

    fn matches_a_labels(&self, domain: &str) -> bool {
        if !self.below {
            return domain == self.suffix;
        }
        domain
            .strip_suffix(&self.suffix)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.below { "*." } else { "" };
        write!(f, "{below}{}", self.suffix)
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// For which domains.
    pub domain: DomainPattern,
    /// Where to, in order; empty: the mail exchangers of the recipient's domain.
    pub next_hops: Arc<[NextHop]>,
    /// What is asked of the way there.
    pub policy: DestinationPolicy,
}

/// The rules in order, and where all else goes.
#[derive(Debug, Clone)]
pub struct Router {
    rules: Vec<Rule>,
    /// The first rule for exactly this domain, and for what is below it.
    exact: HashMap<String, usize>,
    below: HashMap<String, usize>,
    default: Arc<[NextHop]>,
    mx_port: u16,
}

/// Why mail goes where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteReason {
    /// The rule with this place in the list, from 0.
    Rule(usize),
    /// No rule matches: the smart hosts.
    Default,
    /// No rule matches, and there are no smart hosts: the mail exchangers of the recipient's domain.
    Exchangers,
}

impl Router {
    /// A router that asks `rules` in order, then takes `default`; where that is empty, the mail exchangers of the
    /// recipient's domain, at `mx_port`.
    #[must_use]
    pub fn new(rules: Vec<Rule>, default: Arc<[NextHop]>, mx_port: u16) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for (place, rule) in rules.iter().enumerate() {
            let map = if rule.domain.below { &mut below } else { &mut exact };
            map.entry(rule.domain.suffix.clone()).or_insert(place);
        }
        Self {
            rules,
            exact,
            below,
            default,
            mx_port,
        }
    }

    /// Where mail for `recipient` goes. Empty only where `mx_port` is 0.
    #[must_use]
    pub fn next_hops(&self, recipient: &Address) -> Arc<[NextHop]> {
        self.route(recipient).0
    }

    /// Where mail for `recipient` goes, and why.
    #[must_use]
    pub fn route(&self, recipient: &Address) -> (Arc<[NextHop]>, RouteReason) {
        let domain = a_labels(recipient.domain());
        let found = self.rule_for(&domain);
        let rule = found.and_then(|place| self.rules.get(place));
        let hops = rule.map_or(&self.default, |rule| &rule.next_hops);
        let exchangers = || NextHop::mx(&domain, self.mx_port).into_iter().collect();
        match found {
            Some(place) if hops.is_empty() => (exchangers(), RouteReason::Rule(place)),
            Some(place) => (Arc::clone(hops), RouteReason::Rule(place)),
            None if hops.is_empty() => (exchangers(), RouteReason::Exchangers),
            None => (Arc::clone(hops), RouteReason::Default),
        }
    }

    /// The place of the first rule that matches `domain`, which is in A-labels.
    fn rule_for(&self, domain: &str) -> Option<usize> {
        let parents = domain.match_indices('.').filter_map(|(at, _)| {
            let parent = domain.get(at + 1..)?;
            // `*.example.org` is not for `.example.org`, which is no domain.
            (at > 0).then(|| self.below.get(parent)).flatten()
        });
        self.exact.get(domain).into_iter().chain(parents).min().copied()
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Where all mail goes, if it all goes to the same next hops.
    fn only_route(&self) -> Option<&Arc<[NextHop]>> {
        (self.rules.is_empty() && !self.default.is_empty()).then_some(&self.default)
    }

    /// What is asked of the way to `next_hops`, as a message keeps them: that of the first rule that leads there.
    #[must_use]
    pub fn policy(&self, next_hops: &[NextHop]) -> DestinationPolicy {
        let leads_there = |rule: &&Rule| match next_hops {
            [hop] if rule.next_hops.is_empty() => self.leads_to_exchangers(&rule.domain, hop),
            _ => !rule.next_hops.is_empty() && *rule.next_hops == *next_hops,
        };
        let rule = self.rules.iter().find(leads_there);
        rule.map_or_else(DestinationPolicy::default, |rule| rule.policy)
    }

    fn leads_to_exchangers(&self, pattern: &DomainPattern, hop: &NextHop) -> bool {
        if hop.is_mx() {
            return pattern.matches_a_labels(hop.host());
        }
        // The host of an address literal has lost its domain's brackets.
        let literal = pattern.suffix.starts_with('[');
        literal && NextHop::mx(&pattern.suffix, self.mx_port).is_ok_and(|host| host == *hop)
    }

    /// Splits `envelope` into one section for each list of next hops, in the order of their first recipients.
    #[must_use]
    pub fn split(&self, envelope: Envelope, retry: &RetryPolicy) -> Vec<Section> {
        let section = |envelope, next_hops| Section {
            envelope,
            next_hops,
            origin: RouteOrigin::Configured,
            retry: retry.clone(),
        };
        if let Some(only) = self.only_route() {
            return vec![section(envelope, Arc::clone(only))];
        }
        let hops = |recipient: &Recipient| self.next_hops(&recipient.address);
        let groups = grouped(envelope.recipients, hops);
        let (reverse_path, parameters) = (envelope.reverse_path, envelope.parameters);
        let part = |recipients| Envelope {
            reverse_path: reverse_path.clone(),
            recipients,
            parameters: parameters.clone(),
        };
        groups
            .into_iter()
            .map(|(hops, recipients)| section(part(recipients), hops))
            .collect()
    }
}

/// Items with the same key together, in the order of their first items.
fn grouped<K: Eq + Hash + Clone, T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for item in items {
        let place = match places.entry(key(&item)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                groups.push((new.key().clone(), Vec::new()));
                *new.insert(groups.len() - 1)
            }
        };
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(item);
        }
    }
    groups
}

/// Where mail goes whose next hops its submitter did not name, as the service is configured now. Cloning shares it.
///
/// An empty list of next hops means "nowhere": such mail waits until a person gives it a route, or the service has another
/// routing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Routing {
    /// To the next hops it was spooled with; mail for the built-in sink nowhere. For programs without a configuration of routes.
    #[default]
    AsSpooled,
    /// By rules; mail for the built-in sink nowhere: it must not go out to the world by surprise.
    ByRules(Arc<Router>),
    /// Mail for the built-in sink to the one of this run, nowhere while that is not known. Mail that was routed by a configuration
    /// nowhere: the sink would forget it.
    ToBuiltInSink(Arc<[NextHop]>),
}

/// Recipients with the same route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteGroup {
    /// Next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// Who goes there.
    pub recipients: Vec<RecipientIndex>,
}

impl Routing {
    /// Whether this is `other`, and not another routing, be it with the same routes.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AsSpooled, Self::AsSpooled) => true,
            (Self::ByRules(one), Self::ByRules(other)) => Arc::ptr_eq(one, other),
            (Self::ToBuiltInSink(one), Self::ToBuiltInSink(other)) => one == other,
            (Self::AsSpooled | Self::ByRules(_) | Self::ToBuiltInSink(_), _) => false,
        }
    }

    /// Where mail with this origin goes that was spooled with the next hops `spooled`, where that does not depend on its recipients.
    /// `None`: [`Routing::groups`] tells.
    #[must_use]
    pub fn without_recipients(
        &self,
        origin: RouteOrigin,
        spooled: &Arc<[NextHop]>,
    ) -> Option<Arc<[NextHop]>> {
        let nowhere = || Some(Arc::from([]));
        match (origin, self) {
            (RouteOrigin::Named, _) | (RouteOrigin::Configured, Self::AsSpooled) => Some(Arc::clone(spooled)),
            (RouteOrigin::Configured, Self::ByRules(router)) => router.only_route().cloned(),
            (RouteOrigin::BuiltInSink, Self::ToBuiltInSink(sink)) => Some(Arc::clone(sink)),
            (RouteOrigin::Configured, Self::ToBuiltInSink(_))
            | (RouteOrigin::BuiltInSink, Self::AsSpooled | Self::ByRules(_)) => nowhere(),
        }
    }

    /// Where each of `recipients` of `envelope` goes, in groups with the same next hops, in the order of their first recipients.
    #[must_use]
    pub fn groups(
        &self,
        origin: RouteOrigin,
        spooled: &Arc<[NextHop]>,
        envelope: &Envelope,
        recipients: &[RecipientIndex],
    ) -> Vec<RouteGroup> {
        let group = |(next_hops, recipients)| RouteGroup {
            next_hops,
            recipients,
        };
        let router = match (self, self.without_recipients(origin, spooled)) {
            (Self::ByRules(router), None) => router,
            (_, known) => {
                let hops = known.unwrap_or_else(|| Arc::clone(spooled));
                return vec![group((hops, recipients.to_vec()))];
            }
        };
        let hops = |index: &RecipientIndex| {
            let place = usize::try_from(*index).ok();
            let recipient = place.and_then(|place| envelope.recipients.get(place));
            recipient.map_or_else(
                || Arc::clone(spooled),
                |recipient| router.next_hops(&recipient.address),
            )
        };
        let groups = grouped(recipients.iter().copied(), hops);
        groups.into_iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::TlsPolicy;
    use crate::envelope::ReversePath;

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
    fn without_smart_hosts_each_domain_is_a_destination_of_its_own() {
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
    fn the_policy_of_a_way_is_that_of_the_first_rule_that_leads_there() {
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
    fn the_recipients_that_are_left_are_grouped_by_the_routes_of_now() {
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
    fn the_origin_of_a_route_decides_whether_the_configuration_of_now_counts() {
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
}
