//! `spool dkim`: signing keys, their records in DNS, and the signatures of messages.

mod dns;
mod generate;
mod new;
mod verify;

use crate::config::Config;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use spool_core::{a_labels, valid_domain};
use spool_smtp::client::{DnsResolver, RouteConfig};
use std::time::Duration;

/// How long one question to DNS may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct Dkim {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a signing key, and print the DNS record that publishes it
    New(new::New),
    /// Print the DNS records of the configured keys, and compare them with DNS
    Dns(dns::Dns),
    /// Check the DKIM signatures of a message
    Verify(verify::Verify),
}

impl Dkim {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::New(new) => new.run(),
            Verb::Dns(dns) => dns.run(),
            Verb::Verify(verify) => verify.run(),
        }
    }
}

/// A domain, or a selector, in A-labels and lower case.
fn name(text: &str) -> Result<String, String> {
    let ascii = a_labels(text);
    match valid_domain(text) && ascii.is_ascii() && !ascii.starts_with('[') {
        true => Ok(ascii.into_owned()),
        false => Err("it is not a domain name".to_owned()),
    }
}

/// Asks the name servers of `config`, or of this machine, on a runtime of its own.
fn ask<T, F: Future<Output = T>>(
    config: &Config,
    question: impl FnOnce(DnsResolver) -> F,
) -> Result<T, Failure> {
    let mut route = RouteConfig::default();
    route
        .dns_servers
        .clone_from(&config.client.smtp.route.dns_servers);
    route
        .resolv_conf
        .clone_from(&config.client.smtp.route.resolv_conf);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(runtime.block_on(async { question(DnsResolver::from_config(&route, LIMIT)).await }))
}
