//! `spool dkim new`: a new key in a new file, and its record.

use super::generate::{self, KeyType};
use super::lookup::name;
use crate::cli::console;
use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use spool_smtp::dkim::{SigningKey, zone_line};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Characters in a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;

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
        write(&self.out, &pem(&der))
            .map_err(|error| Failure::Failed(format!("{}: {error}", self.out.display())))?;
        console::print(|out| writeln!(out, "{}", zone_line(&self.domain, &self.selector, &key)))
    }
}

fn pem(der: &[u8]) -> String {
    let text: Vec<char> = STANDARD.encode(der).chars().collect();
    let lines: Vec<String> = text.chunks(PEM_LINE).map(|line| line.iter().collect()).collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
