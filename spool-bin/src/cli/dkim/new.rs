//! `spool dkim new`: a new key in a new file, and its record.

use super::generate::{self, KeyType};
use super::lookup::name;
use crate::cli::console;
use crate::failure::Failure;
use crate::files;
use anyhow::Context;
use clap::Args;
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use spool_smtp::dkim::{SigningKey, zone_line};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  spool dkim new --domain example.org --selector s2026 --out /etc/spool/dkim/example.org.s2026.pem

Writes the private key, which only its owner may read, and prints the record to put into the zone of the \
domain. A file that exists is not touched. The key signs once [[dkim.key]] names it.")]
pub(super) struct New {
    /// Whose mail it will sign
    #[arg(long, value_name = "DOMAIN", value_parser = name)]
    domain: String,
    /// The name of the key in the domain
    #[arg(long, value_name = "SELECTOR", value_parser = name)]
    selector: String,
    /// What kind of key
    #[arg(long = "type", value_enum, default_value_t)]
    kind: KeyType,
    /// The new file for the private key
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl New {
    pub(super) fn run(self) -> Result<(), Failure> {
        let der = generate::pkcs8(self.kind).map_err(Failure::Failed)?;
        let key = SigningKey::from_pkcs8(&der).map_err(|error| Failure::Failed(error.to_string()))?;
        let text = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let text = encode_config(&Pem::new("PRIVATE KEY", der), text);
        files::create(&self.out, 0o600, &[text.as_bytes()])
            .with_context(|| self.out.display().to_string())?;
        console::print(|out| writeln!(out, "{}", zone_line(&self.domain, &self.selector, &key)))
    }
}
