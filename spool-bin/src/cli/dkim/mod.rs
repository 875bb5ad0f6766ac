//! `spool dkim`: signing keys, their records in DNS, and the signatures of messages.

mod dns;
mod lookup;
mod new;
mod verify;

use crate::failure::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum DkimVerb {
    /// Make a signing key, and print the DNS record that publishes it
    New(new::New),
    /// Print the DNS records of the configured keys, and compare them with DNS
    Dns(dns::Dns),
    /// Check the DKIM signatures of a message
    Verify(verify::Verify),
}

impl DkimVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Dns(dns) => dns.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}
