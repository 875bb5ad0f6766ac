//! `spool dkim new`: a new key in a new file, and its record.

use super::lookup::name;
use crate::cli::console;
use crate::failure::Failure;
use crate::files;
use anyhow::Context;
use clap::{Args, ValueEnum};
use getrandom::SysRng;
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rsa::pkcs8::EncodePrivateKey;
use spool_smtp::dkim::{SigningKey, zone_line};
use std::io::Write;
use std::path::PathBuf;

/// Bits of an RSA key: every receiver accepts them, and signing is fast (RFC 8301).
const RSA_BITS: usize = 2048;
/// An Ed25519 key in PKCS#8 without its public key, up to its 32 bytes: the form that OpenSSL writes and other programs read.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum KeyType {
    /// RSA of 2048 bits
    #[default]
    Rsa,
    /// Ed25519, beside an RSA key of the same domain
    Ed25519,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  spool dkim new --domain example.org --selector s2026 --out /etc/spool/dkim/example.org.s2026.pem

Writes the private key, which only its owner may read, and prints the record to put into the zone of the \
domain. A file that exists is not touched. The key signs once [[dkim.key]] names it.")]
pub(in crate::cli) struct New {
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
        let der = pkcs8(self.kind).map_err(Failure::Failed)?;
        let key = SigningKey::from_pkcs8(&der).map_err(|error| Failure::Failed(error.to_string()))?;
        let text = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let text = encode_config(&Pem::new("PRIVATE KEY", der), text);
        files::create(&self.out, 0o600, &[text.as_bytes()])
            .with_context(|| self.out.display().to_string())?;
        console::print(|out| writeln!(out, "{}", zone_line(&self.domain, &self.selector, &key)))
    }
}

/// A new key of `kind`, as DER.
///
/// # Errors
/// Why no key could be made.
fn pkcs8(kind: KeyType) -> Result<Vec<u8>, String> {
    match kind {
        KeyType::Rsa => {
            let key = rsa::PrivateKey::new(&mut SysRng, RSA_BITS).map_err(|error| error.to_string())?;
            let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
            Ok(der.as_bytes().to_vec())
        }
        KeyType::Ed25519 => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
            Ok([&ED25519_PREFIX[..], &seed].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_smtp::dkim::Algorithm;

    #[test]
    fn new_keys_can_sign_and_are_different_each_time() {
        for (kind, algorithm) in [
            (KeyType::Rsa, Algorithm::Rsa),
            (KeyType::Ed25519, Algorithm::Ed25519),
        ] {
            let [one, other] = [pkcs8(kind).unwrap(), pkcs8(kind).unwrap()];
            assert_ne!(one, other);
            assert_eq!(SigningKey::from_pkcs8(&one).unwrap().algorithm(), algorithm);
        }
    }
}
