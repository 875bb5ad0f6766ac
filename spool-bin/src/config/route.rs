//! Reads `[route]`: where mail goes, and the policies of destinations.
//!
//! The policy of a rule is found by its next hops, because a message keeps only those. So two rules with the same next hops and
//! different policies are refused.

use super::read::{domain, number, parsed, path, rate, text};
use super::reader::TableReader;
use spool_core::{DestinationPolicy, NextHop, Rule, valid_domain};
use spool_smtp::client::RouteConfig;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
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
    /// The line in which each of them begins.
    pub(crate) rule_lines: Vec<usize>,
}

/// `[route]`, and what the client needs of it to find hosts.
pub(super) fn route(section: TableReader<'_, '_>) -> (Route, RouteConfig) {
    let next_hops = section.list("next_hops", parsed);
    let (rules, rule_lines) = rules(&section, &next_hops);
    let route = Route {
        next_hops,
        mx_port: section.get("mx_port", number(1)),
        rules,
        rule_lines,
    };
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
    section.end();
    (route, resolving)
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

/// A rule as it is in the file.
struct Written<'s, 't> {
    section: TableReader<'s, 't>,
    place: Range<usize>,
    rule: Rule,
}

/// The rules, and the line in which each of them begins.
fn rules(route: &TableReader<'_, '_>, default: &[NextHop]) -> (Vec<Rule>, Vec<usize>) {
    let written = route
        .sections("rule")
        .into_iter()
        .map(|(section, place)| rule(section, place));
    let mut before: Vec<Written<'_, '_>> = Vec::new();
    for written in written.flatten() {
        contradictions(&written, &before, default);
        before.push(written);
    }
    before
        .into_iter()
        .map(|written| {
            let line = written.section.line(&written.place);
            written.section.end();
            (written.rule, line)
        })
        .unzip()
}

fn rule<'s, 't>(section: TableReader<'s, 't>, place: Range<usize>) -> Option<Written<'s, 't>> {
    let domain = section.optional("domain", domain);
    let mut policy = DestinationPolicy::default();
    policy.tls = section.optional("tls", |value| text(value)?.parse());
    policy.max_connections = section
        .optional("max_connections", number(1))
        .and_then(std::num::NonZeroU32::new);
    policy.rate = section.optional("rate", rate);
    let next_hops: Vec<NextHop> = section.list("next_hops", parsed);
    section.require(&place);
    let Some(domain) = domain else {
        section.end();
        return None;
    };
    let rule = Rule {
        domain,
        next_hops: next_hops.into(),
        policy,
    };
    Some(Written { section, place, rule })
}

/// Notes contradictions to the rules `before` and to the `default` next hops.
fn contradictions(written: &Written<'_, '_>, before: &[Written<'_, '_>], default: &[NextHop]) {
    let Written { section, place, rule } = written;
    let at = |key| section.place(key).unwrap_or_else(|| place.clone());
    if before.iter().any(|other| other.rule.domain == rule.domain) {
        section.problem("domain", at("domain"), "a rule above is for the same domain");
    }
    if rule.next_hops.is_empty() {
        return;
    }
    let same = before.iter().find(|other| other.rule.next_hops == rule.next_hops);
    if same.is_some_and(|other| other.rule.policy != rule.policy) {
        let text = "a rule above has the same next hops, and another tls, max_connections or rate";
        section.problem("next_hops", at("next_hops"), text);
    }
    if *rule.next_hops == *default && rule.policy != DestinationPolicy::default() {
        let text =
            "these are route.next_hops, whose other mail has no tls, max_connections or rate of its own";
        section.problem("next_hops", at("next_hops"), text);
    }
}
