//! The router: the next hops of the first rule that matches a recipient's domain, or the smart hosts, or the mail exchangers
//! of the domain.

use crate::address::Address;
use crate::destination::DestinationPolicy;
use crate::domain::a_labels;
use crate::domain_pattern::DomainPattern;
use crate::envelope::{Envelope, Recipient};
use crate::message::{RouteOrigin, Section};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// For which domains.
    pub domain: DomainPattern,
    /// Next hops in order; empty: the mail exchangers of the recipient's domain.
    pub next_hops: Arc<[NextHop]>,
    /// The policy of the destination.
    pub policy: DestinationPolicy,
}

/// The rules in order, and the default.
#[derive(Debug, Clone)]
pub struct Router {
    rules: Vec<Rule>,
    /// The first rule for exactly this domain, and for what is below it.
    exact: HashMap<String, usize>,
    below: HashMap<String, usize>,
    default: Arc<[NextHop]>,
    mx_port: u16,
}

/// Why a route was chosen.
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
    /// A router with `rules` in order, then `default`; if that is empty, the mail exchangers of the recipient's domain,
    /// at `mx_port`.
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

    /// The next hops for `recipient`. Empty only if `mx_port` is 0.
    #[must_use]
    pub fn next_hops(&self, recipient: &Address) -> Arc<[NextHop]> {
        self.route(recipient).0
    }

    /// The next hops for `recipient`, and why.
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
    pub(crate) fn rule_for(&self, domain: &str) -> Option<usize> {
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

    /// The only route, if all mail has the same one.
    pub(crate) fn only_route(&self) -> Option<&Arc<[NextHop]>> {
        (self.rules.is_empty() && !self.default.is_empty()).then_some(&self.default)
    }

    /// The policy of the destination `next_hops`, as recorded in a message: that of the first rule that leads there.
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
pub(crate) fn grouped<K: Eq + Hash + Clone, T>(
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
