//! Key records in DNS (RFC 6376 section 3.6.1): written for a zone, read, and compared with a key.

use super::key::{Algorithm, SigningKey};
use super::rsa_key;
use super::tags::{Tags, base64};
use crate::client::{LookupError, Resolve};

/// The longest string in a TXT record (RFC 1035 section 3.3.14).
const MAX_STRING: usize = 255;

/// The name of the key record of a selector.
pub(super) fn record_name(domain: &str, selector: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// The record that publishes `key`, as a line of a zone file: its text is split into strings of at most 255 bytes, which DNS joins.
#[must_use]
pub fn zone_line(domain: &str, selector: &str, key: &SigningKey) -> String {
    let text = key.record();
    let strings = text.as_bytes().chunks(MAX_STRING);
    let strings = strings.map(|string| format!("\"{}\"", String::from_utf8_lossy(string)));
    let strings: Vec<String> = strings.collect();
    format!(
        "{}. IN TXT ( {} )",
        record_name(domain, selector),
        strings.join(" ")
    )
}

/// A published key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// `k=`; `None`: unknown.
    pub algorithm: Option<Algorithm>,
    /// `p=`; empty: revoked. For RSA, the RSAPublicKey.
    pub key: Vec<u8>,
    /// `h=`: whether SHA-256 is allowed.
    pub sha256: bool,
    /// `s=`: whether it is for mail.
    pub email: bool,
    /// `t=s`: whether the identity must be in the domain itself.
    pub strict: bool,
    /// `t=y`: whether the domain is testing DKIM.
    pub testing: bool,
}

impl KeyRecord {
    /// Parses the text of a record; `None`: not a key record.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let tags = Tags::parse(text)?;
        if tags
            .get("v")
            .is_some_and(|version| version != "DKIM1" || tags.first() != Some("v"))
        {
            return None;
        }
        let lists = |name: &str, what: &str| {
            let list = tags.get(name)?;
            Some(list.split(':').any(|item| item.trim_ascii() == what))
        };
        let key = base64(tags.get("p")?)?;
        let algorithm = match tags.get("k").unwrap_or("rsa") {
            "rsa" => Some(Algorithm::Rsa),
            "ed25519" => Some(Algorithm::Ed25519),
            _ => None,
        };
        let key = match algorithm {
            Some(Algorithm::Rsa) if !key.is_empty() => rsa_key::rsa_of(&key)?.to_vec(),
            _ => key,
        };
        Some(Self {
            algorithm,
            key,
            sha256: lists("h", "sha256").unwrap_or(true),
            email: lists("s", "*") != Some(false) || lists("s", "email") == Some(true),
            strict: lists("t", "s") == Some(true),
            testing: lists("t", "y") == Some(true),
        })
    }
}

/// The result of a lookup for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The key.
    Yes,
    /// No record.
    No,
    /// Another record, described.
    Differs(String),
    /// The lookup failed.
    Unknown(String),
}

/// Asks DNS for the record of `key`.
pub async fn published(dns: &dyn Resolve, domain: &str, selector: &str, key: &SigningKey) -> Published {
    let texts = match dns.texts(&record_name(domain, selector)).await {
        Ok(texts) => texts,
        Err(LookupError::NoSuchDomain | LookupError::NoData) => return Published::No,
        Err(LookupError::Temporary(why)) => return Published::Unknown(why),
    };
    let differs = |why: &str| Published::Differs(why.to_owned());
    let [text] = texts.as_slice() else {
        return differs("there is more than one TXT record at this name");
    };
    let Some(record) = KeyRecord::parse(text) else {
        return differs("the TXT record is no key record");
    };
    let own = KeyRecord::parse(&key.record());
    match own {
        _ if record.key.is_empty() => differs("the record says that the key was revoked"),
        Some(own) if own.algorithm != record.algorithm || own.key != record.key => {
            differs("the record has another key")
        }
        _ if !record.sha256 || !record.email => {
            differs("the record does not allow this key for sha256 and email")
        }
        _ if record.testing => differs("the record says that the domain is testing DKIM (t=y)"),
        _ => Published::Yes,
    }
}
