//! Names of keys, and questions to DNS about them.

use crate::cli::console;
use crate::config::Config;
use crate::failure::Failure;
use spool_core::{a_labels, valid_domain};
use spool_smtp::client::{DnsResolver, RouteConfig};
use std::time::Duration;

/// How long one question to DNS may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A domain, or a selector, in A-labels and lower case.
pub(super) fn name(text: &str) -> Result<String, String> {
    let ascii = a_labels(text);
    match valid_domain(text) && ascii.is_ascii() && !ascii.starts_with('[') {
        true => Ok(ascii.into_owned()),
        false => Err("it is not a domain name".to_owned()),
    }
}

/// Asks the name servers of `config`, or of this machine, on a runtime of its own.
pub(super) fn ask<T, F: Future<Output = T>>(
    config: &Config,
    question: impl FnOnce(DnsResolver) -> F,
) -> Result<T, Failure> {
    let configured = &config.client.smtp.route;
    let mut route = RouteConfig::default();
    route.dns_servers.clone_from(&configured.dns_servers);
    route.resolv_conf.clone_from(&configured.resolv_conf);
    Ok(console::runtime()?.block_on(async { question(DnsResolver::from_config(&route, LIMIT)).await }))
}
