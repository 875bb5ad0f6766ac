//! `spool dkim`: signing keys, their records in DNS, and the signatures of messages.

mod dns;
mod generate;
mod lookup;
mod new;
mod verify;

use crate::failure::Failure;
use clap::{Args, Subcommand};

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
