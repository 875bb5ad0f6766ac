//! Reads the signing keys of the configuration. Errors name the path of a file and never its content.

use crate::config::{Config, DkimKey};
use crate::failure::Failure;
use crate::files;
use spool_smtp::dkim::{DomainKey, Rules, SigningKey};

/// The largest file with a key. A key of 4,096 bits has 3 KiB.
const MAX_KEY: u64 = 64 << 10;

/// The key in the file of `key`.
///
/// # Errors
/// What is wrong with the file, without its name and its content.
pub(crate) fn key(key: &DkimKey) -> Result<SigningKey, String> {
    SigningKey::from_pem(&files::read(&key.file, MAX_KEY)?).map_err(|error| error.to_string())
}

/// All keys and the rules of signing.
///
/// # Errors
/// What is wrong with the first file that cannot be used.
pub(crate) fn rules(config: &Config) -> Result<Rules, Failure> {
    let dkim = &config.dkim;
    let mut rules = Rules {
        headers: dkim.headers.clone(),
        oversigned: dkim.oversign.clone(),
        expiration: dkim.expiration,
        on_failure: dkim.on_failure,
        ..Rules::default()
    };
    for configured in &dkim.keys {
        let refuse = |why| Failure::Usage(format!("dkim.key.file: {}: {why}", configured.file.display()));
        rules.keys.push(DomainKey {
            domain: configured.domain.clone(),
            selector: configured.selector.clone(),
            subdomains: configured.subdomains,
            from: configured.from,
            until: configured.until,
            key: key(configured).map_err(refuse)?,
        });
    }
    Ok(rules)
}
