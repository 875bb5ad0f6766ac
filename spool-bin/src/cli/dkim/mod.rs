//! `spool dkim`: signing keys, their records in DNS, and the signatures of messages.

mod dns;
mod lookup;
mod new;
mod verify;

use crate::failure::Failure;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct DkimArgs {
    #[command(subcommand)]
    verb: DkimVerb,
}

#[derive(Debug, Subcommand)]
enum DkimVerb {
    /// Make a signing key, and print the DNS record that publishes it
    New(new::New),
    /// Print the DNS records of the configured keys, and compare them with DNS
    Dns(dns::Dns),
    /// Check the DKIM signatures of a message
    Verify(verify::Verify),
}

impl DkimArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb {
            DkimVerb::New(new) => new.run(),
            DkimVerb::Dns(dns) => dns.run(),
            DkimVerb::Verify(verify) => verify.run(),
        }
    }
}
