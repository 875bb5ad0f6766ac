//! Where mail for an address would go now, and why, as the API returns it and `spool route` prints it.

use crate::format::wrapped;
use serde::{Deserialize, Serialize};
use spool_core::{Address, DestinationPolicy, NextHop, RouteReason, TlsPolicy, harmless};
use spool_smtp::client::{FoundHost, SmtpAgent};
use std::io::{self, Write};
use std::sync::Arc;

/// Addresses in one request.
pub(crate) const MAX_ADDRESSES: usize = 100;
/// Addresses in one request that looks up hosts.
pub(crate) const MAX_LOOKUPS: usize = 10;

/// Why mail goes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// A rule matches.
    Rule,
    /// No rule matches: `route.next_hops`.
    Default,
    /// No rule matches, and `route.next_hops` is empty: the mail exchangers of the domain.
    Exchangers,
    /// The service runs without a configuration.
    BuiltInSink,
}

/// The rule that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatchedRule {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// The line in which it begins.
    pub(crate) line: Option<usize>,
    pub(crate) domain: String,
}

/// The route of mail for one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressRoute {
    pub(crate) address: Address,
    pub(crate) next_hops: Arc<[NextHop]>,
    pub(crate) reason: Reason,
    pub(crate) rule: Option<MatchedRule>,
    pub(crate) tls: TlsPolicy,
    /// Sessions at the same time.
    pub(crate) max_connections: usize,
    /// `100/1m`.
    pub(crate) rate: Option<String>,
    /// For each next hop the hosts that would be tried, when they were looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hosts: Option<Vec<NextHopHosts>>,
}

/// The hosts of one next hop, in the order in which they would be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NextHopHosts {
    pub(crate) next_hop: NextHop,
    pub(crate) found: Vec<LookupResult>,
}

/// A host, or why it is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum LookupResult {
    Host(FoundHost),
    Error { error: String },
}

impl AddressRoute {
    /// `reason`: `None` for the built-in sink.
    pub(crate) fn new(
        address: &Address,
        next_hops: Arc<[NextHop]>,
        reason: Option<RouteReason>,
        rule: Option<MatchedRule>,
        policy: &DestinationPolicy,
        max_connections: usize,
    ) -> Self {
        let own = policy
            .max_connections
            .and_then(|max| usize::try_from(max.get()).ok());
        Self {
            address: address.clone(),
            next_hops,
            reason: match reason {
                Some(RouteReason::Rule(_)) => Reason::Rule,
                Some(RouteReason::Default) => Reason::Default,
                Some(RouteReason::Exchangers) => Reason::Exchangers,
                None => Reason::BuiltInSink,
            },
            rule,
            tls: policy.tls.unwrap_or_default(),
            max_connections: own.unwrap_or(max_connections),
            rate: policy.rate.as_ref().map(ToString::to_string),
            hosts: None,
        }
    }

    /// Looks up the hosts as a delivery does.
    pub(crate) async fn look_up(&mut self, agent: &SmtpAgent) {
        let hosts = self.hosts.insert(Vec::new());
        for next_hop in self.next_hops.iter() {
            let own = NextHop::mx(self.address.domain(), next_hop.port());
            let found = agent.hosts(next_hop, own.is_ok_and(|own| own == *next_hop)).await;
            let found = found.into_iter().map(|found| {
                found.map_or_else(
                    |error| LookupResult::Error {
                        error: error.to_string(),
                    },
                    LookupResult::Host,
                )
            });
            hosts.push(NextHopHosts {
                next_hop: next_hop.clone(),
                found: found.collect(),
            });
        }
    }

    /// Prints it in lines of at most `width` columns; words are not broken.
    pub(crate) fn print(&self, width: usize, out: &mut impl Write) -> io::Result<()> {
        let hops: Vec<String> = self.next_hops.iter().map(ToString::to_string).collect();
        let hops = match hops.is_empty() {
            true => "nowhere".to_owned(),
            false => hops.join(", then "),
        };
        let goes = format!("{} goes to {hops}", harmless(self.address.as_str()));
        wrapped(out, width, "", 4, &goes)?;
        let mut tell = |first: &str, text: &str| wrapped(out, width, first, first.len(), text);
        tell("  because: ", &self.why())?;
        let rate = self.rate.as_deref().unwrap_or("as fast as it takes them");
        let sessions = format!("at most {} sessions at once", self.max_connections);
        let policy = format!("tls {}, {sessions}, messages: {rate}", self.tls);
        tell("  policy:  ", &policy)?;
        for hosts in self.hosts.iter().flatten() {
            tell("  hosts of ", &format!("{}:", hosts.next_hop))?;
            for (number, found) in (1..).zip(&hosts.found) {
                tell(&format!("    {number}. "), &found.text())?;
            }
        }
        Ok(())
    }

    fn why(&self) -> String {
        match (self.reason, &self.rule) {
            (Reason::Rule, Some(rule)) => {
                let line = rule
                    .line
                    .map_or_else(String::new, |line| format!(" (line {line})"));
                let exchangers = match self.next_hops.as_ref() {
                    [hop] if hop.is_mx() => format!(", which leads to the mail exchangers of {}", hop.host()),
                    _ => String::new(),
                };
                let (number, domain) = (rule.number, harmless(&rule.domain));
                format!("rule {number}{line} is for {domain}{exchangers}")
            }
            (Reason::Rule, None) => "a rule is for its domain".to_owned(),
            (Reason::Default, _) => "no rule is for its domain, so route.next_hops are taken".to_owned(),
            (Reason::Exchangers, _) => {
                "no rule is for its domain and route.next_hops is empty: the mail exchangers of the domain"
                    .to_owned()
            }
            (Reason::BuiltInSink, _) => {
                "the service runs without a configuration: the built-in sink takes all mail".to_owned()
            }
        }
    }
}

impl LookupResult {
    fn text(&self) -> String {
        match self {
            Self::Host(host) => {
                let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
                let asked = match (host.dane, host.tls) {
                    (true, tls) => format!(", DANE asks for tls {tls}"),
                    (false, TlsPolicy::None) => String::new(),
                    (false, tls) => format!(", MTA-STS asks for tls {tls}"),
                };
                format!("{} at {}{asked}", host.next_hop, addresses.join(", "))
            }
            Self::Error { error } => format!("none: {}", harmless(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_the_domain_whose_exchangers_it_leads_to() {
        let rule = MatchedRule {
            number: 1,
            line: None,
            domain: "a.example".to_owned(),
        };
        let route = AddressRoute::new(
            &"x@a.example".parse().unwrap(),
            ["mx:other.example:2525".parse().unwrap()].into(),
            Some(RouteReason::Rule(0)),
            Some(rule),
            &DestinationPolicy::default(),
            10,
        );
        assert!(
            route.why().ends_with("the mail exchangers of other.example"),
            "{}",
            route.why()
        );
    }

    #[test]
    fn a_route_is_printed_and_reads_back() {
        let address: Address = "x@a.example".parse().unwrap();
        let rule = MatchedRule {
            number: 2,
            line: Some(14),
            domain: "*.example".to_owned(),
        };
        let hops: Arc<[NextHop]> = ["mx:a.example:25".parse().unwrap()].into();
        let reason = Some(RouteReason::Rule(1));
        let mut route = AddressRoute::new(
            &address,
            Arc::clone(&hops),
            reason,
            Some(rule),
            &DestinationPolicy::default(),
            10,
        );
        route.hosts = Some(vec![NextHopHosts {
            next_hop: hops[0].clone(),
            found: vec![LookupResult::Error {
                error: "550 5.1.2 the domain a.example does not exist".to_owned(),
            }],
        }]);
        let mut text = Vec::new();
        route.print(usize::MAX, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for words in [
            "x@a.example goes to mx:a.example:25",
            "rule 2 (line 14) is for *.example",
            "tls opportunistic, at most 10 sessions",
            "1. none: 550 5.1.2 the domain a.example does not exist",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let mut narrow = Vec::new();
        route.print(40, &mut narrow).unwrap();
        let narrow = String::from_utf8(narrow).unwrap();
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(
            narrow.contains("\n  policy:  tls opportunistic, at most 10\n           sessions at once"),
            "{narrow}"
        );
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(&text));
        let json = serde_json::to_string(&route).unwrap();
        assert_eq!(serde_json::from_str::<AddressRoute>(&json).unwrap(), route);
    }
}
