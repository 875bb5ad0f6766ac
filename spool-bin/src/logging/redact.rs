//! `log.redact`: mail addresses and logins are logged as keyed hashes.
//!
//! The same address, in upper or lower case, has the same hash with the same key: that of `log.redact_key_file`, or a random one of
//! this run. The domain is kept: it is needed to examine a destination, and next hops show it anyway. Addresses in other texts are
//! found by their form.

use crate::config::Log;
use crate::files;
use ring::hmac;
use ring::rand::SystemRandom;
use spool_core::log::Redact;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of a hash that are shown.
const SHOWN: usize = 8;
/// The fewest characters of a key in a file.
const LEAST: usize = 32;
/// Bytes of that file.
const MAX_FILE: u64 = 64 * 1024;
/// What a redacted address begins with.
const MARK: char = '~';

/// Whether the log is redacted. Clones share the setting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction(Arc<RwLock<Option<Arc<Redactor>>>>);

impl Redaction {
    /// Redacts by `redactor` from now on; `None`: not at all.
    pub(crate) fn set(&self, redactor: Option<Redactor>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = redactor.map(Arc::new);
    }

    pub(super) fn now(&self) -> Option<Arc<Redactor>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes hashes in place of addresses.
pub(crate) struct Redactor(hmac::Key);

/// The redactor of a configuration, if the log is to be redacted.
///
/// # Errors
/// What is wrong with the file of the key.
pub(crate) fn redactor(log: &Log) -> Result<Option<Redactor>, String> {
    let redactor = log.redact.then(|| Redactor::new(log.redact_key_file.as_deref()));
    let redactor = redactor.transpose();
    redactor.map_err(|why| format!("log.redact_key_file: {why}"))
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
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
        let wrong = |why: &str| format!("{}: {why}", path.display());
        let text = files::read_text(path, MAX_FILE).map_err(|error| wrong(&error))?;
        let line = text.lines().next().unwrap_or_default().trim();
        if line.len() < LEAST {
            return Err(wrong(
                "its first line must hold at least 32 characters; make one with `openssl rand -hex 32`",
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes())))
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
        let mut out = String::new();
        let (mut rest, mut changed) = (text, false);
        while let Some((before, address, after)) = next_address(rest) {
            out.push_str(before);
            if address.starts_with(MARK) {
                out.push_str(address);
            } else {
                out.push_str(&self.address(address));
            }
            (rest, changed) = (after, true);
        }
        if !changed {
            return Cow::Borrowed(text);
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

/// The first address in `text`, with the text before and after it.
fn next_address(text: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in text.match_indices('@') {
        let (left, right) = text.split_at(at);
        let domain = right.get(1..).unwrap_or_default();
        let length = match domain.strip_prefix('[') {
            Some(literal) => literal.find(']').map_or(0, |end| end + 2),
            None => {
                let end = domain.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.')));
                let domain = domain.get(..end.unwrap_or(domain.len())).unwrap_or_default();
                domain.trim_end_matches(['.', '-']).len()
            }
        };
        let begin = match left.strip_suffix('"') {
            Some(inner) => inner.rfind('"').unwrap_or(at),
            None => {
                let before = left.rfind(|c: char| !in_local_part(c));
                before.map_or(0, |place| {
                    place
                        + left
                            .get(place..)
                            .and_then(|c| c.chars().next())
                            .map_or(1, char::len_utf8)
                })
            }
        };
        if length == 0 || begin == at {
            continue;
        }
        let end = at + 1 + length;
        return Some((text.get(..begin)?, text.get(begin..end)?, text.get(end..)?));
    }
    None
}

/// The characters allowed before the `@` without quotes (RFC 5322 section 3.2.3, RFC 6531).
fn in_local_part(c: char) -> bool {
    c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && !c.is_whitespace())
}
