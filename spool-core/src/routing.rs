//! Which next hops a recipient's mail goes to: the first rule that matches its domain, or the smart hosts.
//!
//! Recipients of one mail with the same next hops stay in one section, so that one transaction carries them all.

use crate::address::Address;
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
    /// Where to, in order.
    pub next_hops: Arc<[NextHop]>,
}

/// The rules in order, and where all else goes.
#[derive(Debug, Clone)]
pub struct Router {
    rules: Vec<Rule>,
    default: Arc<[NextHop]>,
}

impl Router {
    /// A router that asks `rules` in order, then takes `default`.
    #[must_use]
    pub const fn new(rules: Vec<Rule>, default: Arc<[NextHop]>) -> Self {
        Self { rules, default }
    }

    /// Where mail for `recipient` goes; empty when no rule matches and there are no smart hosts.
    #[must_use]
    pub fn next_hops(&self, recipient: &Address) -> Arc<[NextHop]> {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.domain.matches(recipient.domain()));
        Arc::clone(rule.map_or(&self.default, |rule| &rule.next_hops))
    }

    /// Splits `envelope` into one section for each list of next hops, in the order of their first recipients.
    #[must_use]
    pub fn split(&self, envelope: Envelope, retry: &RetryPolicy) -> Vec<Section> {
        let section = |envelope, next_hops| Section {
            envelope,
            next_hops,
            retry: retry.clone(),
        };
        if self.rules.is_empty() {
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
        };
        let router = Router::new(
            vec![
                rule("example.org", "a:25"),
                rule("*.example.org", "b:25"),
                rule("other.net", "a:25"),
            ],
            hops("smart:25"),
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
}
