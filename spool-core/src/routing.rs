//! Which next hops a recipient's mail goes to: the first rule that matches its domain, or the smart hosts, or the mail
//! exchangers of the domain. And what is asked of the way there.
//!
//! Recipients of one mail with the same next hops stay in one section, so that one transaction carries them all.

use crate::address::Address;
use crate::destination::DestinationPolicy;
use crate::domain::a_labels;
use crate::envelope::Envelope;
use crate::message::{RouteOrigin, Section};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
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
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.suffix)
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
    default: Arc<[NextHop]>,
    mx_port: u16,
}

impl Router {
    /// A router that asks `rules` in order, then takes `default`; where that is empty, the mail exchangers of the
    /// recipient's domain, at `mx_port`.
    #[must_use]
    pub const fn new(rules: Vec<Rule>, default: Arc<[NextHop]>, mx_port: u16) -> Self {
        Self {
            rules,
            default,
            mx_port,
        }
    }

    /// Where mail for `recipient` goes. Empty only where `mx_port` is 0.
    #[must_use]
    pub fn next_hops(&self, recipient: &Address) -> Arc<[NextHop]> {
        let domain = a_labels(recipient.domain());
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.domain.matches_a_labels(&domain));
        let hops = rule.map_or(&self.default, |rule| &rule.next_hops);
        if !hops.is_empty() {
            return Arc::clone(hops);
        }
        NextHop::mx(&domain, self.mx_port).into_iter().collect()
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
        if self.rules.is_empty() && !self.default.is_empty() {
            return vec![section(envelope, Arc::clone(&self.default))];
        }
        let mut groups: Vec<(Arc<[NextHop]>, Vec<_>)> = Vec::new();
        let mut places: HashMap<Arc<[NextHop]>, usize> = HashMap::new();
        for recipient in envelope.recipients {
            let place = match places.entry(self.next_hops(&recipient.address)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    groups.push((Arc::clone(new.key()), Vec::new()));
                    *new.insert(groups.len() - 1)
                }
            };
            if let Some((_, recipients)) = groups.get_mut(place) {
                recipients.push(recipient);
            }
        }
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
        let envelope = Envelope::new(ReversePath::Null, to.iter().map(|t| t.parse().unwrap()));
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
}
