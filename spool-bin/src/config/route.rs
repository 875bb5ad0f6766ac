//! Reads `[route]`: where mail goes, and the policies of destinations.
//!
//! The policy of a rule is found by its next hops, because a message keeps only those. So two rules with the same next hops and
//! different policies are refused.

use super::read::{domain, number, parsed, path, rate, text};
use super::reader::TableReader;
use spool_core::{DestinationPolicy, NextHop, Rule, valid_domain};
use spool_smtp::client::RouteConfig;
use std::net::{IpAddr, SocketAddr};
use toml::de::DeValue;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// `[route]`.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Smart hosts in order; none: mail exchangers.
    pub(crate) next_hops: Vec<NextHop>,
    pub(crate) mx_port: u16,
    pub(crate) rules: Vec<Rule>,
}

/// `[route]`: where mail goes.
pub(super) fn route(section: &TableReader<'_>) -> Route {
    let next_hops = section.list("next_hops", parsed);
    let mut rules: Vec<Rule> = Vec::new();
    for section in section.sections("rule") {
        if let Some(rule) = rule(&section) {
            contradictions(&section, &rule, &rules, &next_hops);
            rules.push(rule);
        }
    }
    Route {
        next_hops,
        mx_port: section.get("mx_port", number(1)),
        rules,
    }
}

/// `[route]`: what the client needs of it to find hosts.
pub(super) fn resolving(section: &TableReader<'_>) -> RouteConfig {
    let mut resolving = RouteConfig::default();
    resolving.dns_servers = section.list("dns_servers", dns_server);
    resolving.resolv_conf = section.get("resolv_conf", path);
    resolving.ignored_networks = section.list("ignore_networks", parsed);
    for own in section.list("own", own) {
        match own.parse() {
            Ok(address) => resolving.own_addresses.push(address),
            Err(_) => resolving.own_names.push(own),
        }
    }
    resolving
}

fn dns_server(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let text = text(value)?;
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    let address = address.or_else(|_| text.parse::<SocketAddr>());
    address.map_err(|_| format!("{text:?} is not an address of a name server, with or without a port"))
}

/// An address, or a host name in A-labels.
fn own(value: &DeValue<'_>) -> Result<String, String> {
    let text = text(value)?;
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text);
    }
    match valid_domain(&text) && !text.starts_with('[') {
        true => Ok(spool_core::a_labels(&text).into_owned()),
        false => Err(format!("{text:?} is neither a host name nor an address")),
    }
}

fn rule(section: &TableReader<'_>) -> Option<Rule> {
    let domain = section.optional("domain", domain);
    let mut policy = DestinationPolicy::default();
    policy.tls = section.optional("tls", |value| text(value)?.parse());
    policy.max_connections = section
        .optional("max_connections", number(1))
        .and_then(std::num::NonZeroU32::new);
    policy.rate = section.optional("rate", rate);
    let next_hops: Vec<NextHop> = section.list("next_hops", parsed);
    section.require();
    Some(Rule {
        domain: domain?,
        next_hops: next_hops.into(),
        policy,
    })
}

/// Notes contradictions of a rule to those `before` it and to the `default` next hops.
fn contradictions(section: &TableReader<'_>, rule: &Rule, before: &[Rule], default: &[NextHop]) {
    if before.iter().any(|other| other.domain == rule.domain) {
        section.problem("domain", "a rule above is for the same domain");
    }
    if rule.next_hops.is_empty() {
        return;
    }
    let same = before.iter().find(|other| other.next_hops == rule.next_hops);
    if same.is_some_and(|other| other.policy != rule.policy) {
        let text = "a rule above has the same next hops, and another tls, max_connections or rate";
        section.problem("next_hops", text);
    }
    if *rule.next_hops == *default && rule.policy != DestinationPolicy::default() {
        let text =
            "these are route.next_hops, whose other mail has no tls, max_connections or rate of its own";
        section.problem("next_hops", text);
    }
}
