//! Which next hops a recipient's mail goes to: the first rule that matches its domain, or the smart hosts, or the mail
//! exchangers of the domain. And what is asked of the way there.
//!
//! Recipients of one mail with the same next hops stay in one section, so that one transaction carries them all.

use crate::address::Address;
use crate::destination::DestinationPolicy;
use crate::envelope::Envelope;
use crate::message::Section;
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use std::sync::Arc;

/// `example.org`, or `*.example.org` for what is below it. Compared without regard to case.
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
        let valid = crate::address::valid_domain(domain);
        valid.then(|| Self {
            suffix: domain.to_lowercase(),
            below,
        })
    }

    /// Whether `domain` is meant.
    #[must_use]
    pub fn matches(&self, domain: &str) -> bool {
        let domain = domain.to_lowercase();
        if !self.below {
            return domain == self.suffix;
        }
        domain
            .strip_suffix(&self.suffix)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
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

    /// Where mail for `recipient` goes. Empty only for a domain that no host can be asked for.
    #[must_use]
    pub fn next_hops(&self, recipient: &Address) -> Arc<[NextHop]> {
        let domain = recipient.domain();
        let rule = self.rules.iter().find(|rule| rule.domain.matches(domain));
        let hops = rule.map_or(&self.default, |rule| &rule.next_hops);
        if !hops.is_empty() {
            return Arc::clone(hops);
        }
        NextHop::mx(domain, self.mx_port).into_iter().collect()
    }

    /// What is asked of the way to `next_hops`, as a message keeps them: that of the first rule that leads there.
    #[must_use]
    pub fn policy(&self, next_hops: &[NextHop]) -> DestinationPolicy {
        let leads_there = |rule: &&Rule| match next_hops {
            [hop] if rule.next_hops.is_empty() => hop.is_mx() && rule.domain.matches(hop.host()),
            _ => !rule.next_hops.is_empty() && *rule.next_hops == *next_hops,
        };
        let rule = self.rules.iter().find(leads_there);
        rule.map_or_else(DestinationPolicy::default, |rule| rule.policy)
    }

    /// Splits `envelope` into one section for each list of next hops, in the order of their first recipients.
    #[must_use]
    pub fn split(&self, envelope: Envelope, retry: &RetryPolicy) -> Vec<Section> {
        let section = |envelope, next_hops| Section {
            envelope,
            next_hops,
            retry: retry.clone(),
        };
        if self.rules.is_empty() && !self.default.is_empty() {
            return vec![section(envelope, Arc::clone(&self.default))];
        }
        let mut groups: Vec<(Arc<[NextHop]>, Vec<_>)> = Vec::new();
        for recipient in envelope.recipients {
            let hops = self.next_hops(&recipient.address);
            match groups.iter_mut().find(|(known, _)| *known == hops) {
                Some((_, recipients)) => recipients.push(recipient),
                None => groups.push((hops, vec![recipient])),
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
    use crate::envelope::ReversePath;

    fn hops(text: &str) -> Arc<[NextHop]> {
        [text.parse().unwrap()].into()
    }

    #[test]
    fn recipients_are_grouped_by_where_they_go() {
        let rule = |domain, to| Rule {
            domain: DomainPattern::parse(domain).unwrap(),
            next_hops: hops(to),
            policy: DestinationPolicy::default(),
        };
        let router = Router::new(
            vec![
                rule("example.org", "a:25"),
                rule("*.example.org", "b:25"),
                rule("other.net", "a:25"),
            ],
            hops("smart:25"),
            25,
        );
        let to = [
            "1@example.org",
            "2@x.Example.ORG",
            "3@else.where",
            "4@OTHER.net",
            "5@notexample.org",
        ];
        let envelope = Envelope::new(ReversePath::Null, to.iter().map(|t| t.parse().unwrap()));
        let sections = router.split(envelope, &RetryPolicy::default());
        let shape: Vec<_> = sections
            .iter()
            .map(|s| {
                (
                    s.next_hops[0].to_string(),
                    s.envelope
                        .recipients
                        .iter()
                        .map(|r| r.address.local_part().to_owned())
                        .collect::<String>(),
                )
            })
            .collect();
        let expected = [("a:25", "14"), ("b:25", "2"), ("smart:25", "35")];
        assert_eq!(shape, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
    #[test]
    fn without_smart_hosts_each_domain_is_a_destination_of_its_own() {
        let verify = DestinationPolicy {
            tls: Some(crate::destination::TlsPolicy::Verify),
            ..DestinationPolicy::default()
        };
        let rule = Rule {
            domain: DomainPattern::parse("b.example").unwrap(),
            next_hops: Arc::new([]),
            policy: verify,
        };
        let router = Router::new(vec![rule], Arc::new([]), 2525);
        let to = ["1@a.example", "2@b.example", "3@A.example", "4@[192.0.2.7]"];
        let envelope = Envelope::new(ReversePath::Null, to.iter().map(|t| t.parse().unwrap()));
        let sections = router.split(envelope, &RetryPolicy::default());
        let shape: Vec<_> = sections
            .iter()
            .map(|s| (s.next_hops[0].to_string(), s.envelope.recipients.len()))
            .collect();
        let expected = [
            ("mx:a.example:2525", 2),
            ("mx:b.example:2525", 1),
            ("192.0.2.7:2525", 1),
        ];
        assert_eq!(shape, expected.map(|(hop, count)| (hop.to_owned(), count)));
        assert_eq!(
            router.policy(&sections[0].next_hops),
            DestinationPolicy::default()
        );
        assert_eq!(router.policy(&sections[1].next_hops), verify);
    }
}
