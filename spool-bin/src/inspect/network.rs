//! Addresses, networks and routes.

use super::finding::Findings;
use crate::config::{Config, clash, proxy_problem};
use rustix::fs::{Access, access};
use std::net::SocketAddr;

/// Addresses of which only one can be had.
pub(super) fn addresses(config: &Config, found: &mut Findings<'_>) {
    // Those of the service manager are bound already.
    let inherited = &config.inherited;
    let smtp = config.smtp.iter().filter(|_| inherited.smtp.is_empty());
    let smtp = smtp.map(|address| (address, "listen.smtp"));
    let smtps = config.smtps.iter().filter(|_| inherited.smtps.is_empty());
    let smtps = smtps.map(|address| (address, "listen.smtps"));
    let admin = config.admin.filter(|_| inherited.admin.is_none());
    let all: Vec<_> = smtp.chain(smtps).collect();
    for (nth, (address, key)) in all.iter().enumerate() {
        let mut before = all.iter().take(nth);
        if let Some((other, first)) = before.find(|(other, _)| clash(address, other)) {
            found.error(key, twice(address, other, first));
        }
        if let Some(admin) = admin.filter(|admin| clash(address, admin)) {
            match found.places.line("listen.admin") {
                Some(_) => found.error("listen.admin", twice(&admin, address, key)),
                None => found.error(key, twice(address, &admin, "listen.admin by default")),
            }
        }
    }
}

fn twice(address: &SocketAddr, other: &SocketAddr, key: &str) -> String {
    match address == other {
        true => format!("{address} is in {key} already"),
        false => format!("{address} and {other} in {key} cannot both be listened on"),
    }
}

/// Listeners that expect a PROXY header.
pub(super) fn proxies(config: &Config, found: &mut Findings<'_>) {
    if let Some(problem) = proxy_problem(config) {
        found.error("listen.proxy_protocol", problem);
    }
    for proxy in &config.server.proxies {
        let clients = config
            .server
            .relay
            .allow_networks
            .iter()
            .any(|network| network.overlaps(proxy));
        if proxy.is_most() || proxy.is_many() && clients {
            found.warn(
                "relay.proxies",
                format!("{proxy}: clients may be in it, and each of them may say by XCLIENT that it is another one"),
            );
        }
    }
}

/// Rules that no recipient comes to.
pub(super) fn rules(config: &Config, found: &mut Findings<'_>) {
    let rules = &config.route.rules;
    for (nth, rule) in rules.iter().enumerate() {
        let before = rules.iter().take(nth);
        if let Some(first) = before.into_iter().find(|first| first.domain.covers(&rule.domain)) {
            let (domain, first) = (&rule.domain, &first.domain);
            found.warn(
                &format!("route.rule[{nth}].domain"),
                format!("{domain} is never matched: the rule for {first} above takes its mail"),
            );
        }
    }
}

/// The file that names the name servers, where the configuration says which and it is used.
pub(super) fn resolv_conf(config: &Config, found: &mut Findings<'_>) {
    let route = &config.client.smtp.route;
    let (place, path) = ("route.resolv_conf", &route.resolv_conf);
    if found.places.line(place).is_none() || !route.dns_servers.is_empty() {
        return;
    }
    let why = match std::fs::metadata(path) {
        Ok(data) if data.is_file() => match access(path, Access::READ_OK) {
            Ok(()) => return,
            Err(error) => std::io::Error::from(error).to_string(),
        },
        Ok(_) => "is not a regular file".to_owned(),
        Err(error) => error.to_string(),
    };
    let path = path.display();
    found.warn(
        place,
        format!("{path}: {why}; without it the name server is 127.0.0.1"),
    );
}
