//! Which clients may relay to which domains: a pure decision, denied unless a rule allows it.

use super::network::Network;
use spool_core::{Address, DomainPattern};
use std::net::IpAddr;

/// The relay policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPolicy {
    /// Clients in these networks may send anywhere. Default: loopback.
    pub allow_networks: Vec<Network>,
    /// Anyone may send to these domains. Default: none.
    pub allow_domains: Vec<DomainPattern>,
}

impl RelayPolicy {
    /// Whether `client` may send anywhere.
    #[must_use]
    pub fn trusts(&self, client: IpAddr) -> bool {
        self.allow_networks.iter().any(|network| network.contains(client))
    }

    /// Whether anyone may send to `recipient`: it is in one of the domains, and names no route beyond it (`user%host`,
    /// `host!user`, `"user@host"`) that a misconfigured host there would use to relay the message.
    #[must_use]
    pub fn serves(&self, recipient: &Address) -> bool {
        let routed = recipient.local_part().contains(['%', '!', '@']);
        let domain = recipient.domain();
        !routed && self.allow_domains.iter().any(|pattern| pattern.matches(domain))
    }
}

impl Default for RelayPolicy {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"].map(str::parse);
        Self {
            allow_networks: loopback.into_iter().flatten().collect(),
            allow_domains: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn only_loopback_is_trusted_by_default() {
        let policy = RelayPolicy::default();
        for (client, trusted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("::", false),
        ] {
            assert_eq!(policy.trusts(client.parse().unwrap()), trusted, "{client}");
        }
        assert!(!policy.serves(&address("a@example.org")));
    }

    #[test]
    fn domains_match_in_any_case_and_exactly() {
        let policy = RelayPolicy {
            allow_networks: Vec::new(),
            allow_domains: vec![DomainPattern::parse("example.org").unwrap()],
        };
        for (recipient, served) in [
            ("a@EXAMPLE.org", true),
            ("a+b=c@example.org", true),
            ("a@sub.example.org", false),
            ("a@notexample.org", false),
            ("a@example.org.evil.net", false),
            ("a%evil.net@example.org", false),
            ("evil.net!a@example.org", false),
            ("\"a@evil.net\"@example.org", false),
        ] {
            assert_eq!(policy.serves(&address(recipient)), served, "{recipient}");
        }
    }
}
