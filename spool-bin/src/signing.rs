//! Reads the signing keys of the configuration. Errors name the path of a file and never its content.

use crate::config::{Config, DkimKey};
use crate::failure::Failure;
use crate::files;
use spool_smtp::dkim::{DomainKey, Rules, SigningKey};

/// The largest file with a key. A key of 4,096 bits has 3 KiB.
const MAX_KEY: u64 = 64 << 10;

/// `key` with the key in its file.
///
/// # Errors
/// The path of the file, and what is wrong with it, without its content.
pub(crate) fn read(key: &DkimKey) -> Result<DomainKey, String> {
    Ok(DomainKey {
        domain: key.domain.clone(),
        selector: key.selector.clone(),
        subdomains: key.subdomains,
        from: key.from,
        until: key.until,
        key: files::parse(&key.key, MAX_KEY, SigningKey::from_pem)?,
    })
}

/// The same for all of `keys`.
///
/// # Errors
/// What is wrong with the first file that cannot be used.
pub(crate) fn read_all<'k>(keys: impl Iterator<Item = &'k DkimKey>) -> Result<Vec<DomainKey>, Failure> {
    let read = |key| read(key).map_err(|why| Failure::Usage(format!("dkim.key.file: {why}")));
    keys.map(read).collect()
}

/// All keys and the rules of signing.
///
/// # Errors
/// As [`read_all`].
pub(crate) fn rules(config: &Config) -> Result<Rules, Failure> {
    let dkim = &config.dkim;
    Ok(Rules {
        keys: read_all(dkim.keys.iter())?,
        headers: dkim.headers.clone(),
        oversigned: dkim.oversigned.clone(),
        expiration: dkim.expiration,
        on_failure: dkim.on_failure,
    })
}
