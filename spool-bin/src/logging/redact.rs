//! `log.redact`: mail addresses and logins are logged as keyed hashes.
//!
//! The same address, in upper or lower case, has the same hash with the same key: that of `log.redact_key_file`, or a random one of
//! this run. The domain is kept: it is needed to examine a destination, and next hops show it anyway. Addresses in other texts are
//! found by their form.

use crate::config::Log;
use crate::files;
use derive_more::Debug;
use regex::{Captures, Regex};
use ring::hmac;
use ring::rand::SystemRandom;
use spool_core::log::Redact;
use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::sync::watch;

/// Bytes of a hash that are shown.
const SHOWN: usize = 8;
/// The fewest characters of a key in a file.
const LEAST: usize = 32;
/// Bytes of that file.
const MAX_FILE: u64 = 64 * 1024;
/// What a redacted address begins with.
const MARK: char = '~';

/// An address in a text: a local part, quoted or of the characters that are allowed without quotes (RFC 5322 section 3.2.3,
/// RFC 6531), and a domain or an address literal.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let local = r#""[^"]*"|[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-[^\x00-\x7F\s]]+"#;
    let domain = r"\[[^\]]*\]|[\p{Alphabetic}\p{N}.\-]*[\p{Alphabetic}\p{N}]";
    let address = Regex::new(&format!("(?:{local})@(?:{domain})"));
    address.unwrap_or_else(|why| unreachable!("{why}"))
});

/// What redacts the log at each time; `None`: it is not redacted.
pub(crate) type Redaction = watch::Sender<Option<Arc<Redactor>>>;

/// Writes hashes in place of addresses.
#[derive(Debug)]
#[debug("Redactor")]
pub(crate) struct Redactor(hmac::Key);

/// The redactor of a configuration, if the log is to be redacted.
///
/// # Errors
/// What is wrong with the file of the key.
pub(crate) fn redactor(log: &Log) -> Result<Option<Arc<Redactor>>, String> {
    let redactor = || Redactor::new(log.redact_key_file.as_deref()).map(Arc::new);
    let redactor = log.redact.then(redactor).transpose();
    redactor.map_err(|why| format!("log.redact_key_file: {why}"))
}

impl Redactor {
    /// With the key in the first line of `path`; without one, with a random key.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else {
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
            return key
                .map(Self)
                .map_err(|_| "the system has no random numbers".to_owned());
        };
        files::parse_text(path, MAX_FILE, |text| {
            let line = text.lines().next().unwrap_or_default().trim();
            match line.len() >= LEAST {
                true => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()))),
                false => Err(
                    "its first line must hold at least 32 characters; make one with `openssl rand -hex 32`",
                ),
            }
        })
    }

    fn hash(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0, text.to_lowercase().as_bytes());
        let shown = tag.as_ref().iter().take(SHOWN);
        shown.fold(String::from(MARK), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl Redact for Redactor {
    fn address(&self, address: &str) -> String {
        match address.rsplit_once('@') {
            Some((_, domain)) => format!("{}@{domain}", self.hash(address)),
            None => self.hash(address),
        }
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        ADDRESS.replace_all(text, |found: &Captures<'_>| {
            let address = found.get(0).map_or("", |address| address.as_str());
            match address.starts_with(MARK) {
                true => address.to_owned(),
                false => self.address(address),
            }
        })
    }
}
