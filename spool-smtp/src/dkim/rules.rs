//! Selects the keys for an author and the fields that a signature covers. Pure.

use super::key::{Algorithm, SigningKey};
use spool_core::Timestamp;
use std::str::FromStr;
use std::time::Duration;

/// The header fields that are signed if a message has them, in the order of `h=`. `From` is always signed.
pub const DEFAULT_HEADERS: [&str; 30] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "Sender",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "Resent-Sender",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Help",
    "List-Archive",
    "List-Owner",
    "List-Subscribe",
];

/// The header fields of which one more than the message has is signed: adding another one breaks the signature. `From` is
/// always among them.
pub const DEFAULT_OVERSIGNED: [&str; 10] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Header fields that are added or changed in transit, and so are never signed (RFC 6376 section 5.4.1), and those that are
/// removed before delivery.
const NEVER_SIGNED: [&str; 6] = [
    "Received",
    "Return-Path",
    "Bcc",
    "Resent-Bcc",
    "DKIM-Signature",
    "Authentication-Results",
];

/// The name of a header field that may be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(String);

impl FieldName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let printable = |byte: u8| (33..=126).contains(&byte) && !matches!(byte, b':' | b';');
        if name.is_empty() || name.len() > 76 || !name.bytes().all(printable) {
            return Err("is no name of a header field".to_owned());
        }
        match NEVER_SIGNED.iter().any(|never| never.eq_ignore_ascii_case(name)) {
            true => Err("changes on the way, and cannot be signed".to_owned()),
            false => Ok(Self(name.to_owned())),
        }
    }
}

/// A key, and the mail that it signs. `K` is the key itself, or where it is.
#[derive(Debug, Clone, derive_more::Display)]
#[display("{selector}._domainkey.{domain}")]
pub struct DomainKey<K = SigningKey> {
    /// The domain, in A-labels and lower case: `d=`.
    pub domain: String,
    /// The name of the key in the domain: `s=`.
    pub selector: String,
    /// Whether mail of authors in subdomains is signed with it as well.
    pub subdomains: bool,
    /// When it starts to sign; `None`: no start.
    pub from: Option<Timestamp>,
    /// When it stops; `None`: never.
    pub until: Option<Timestamp>,
    /// The key.
    pub key: K,
}

impl<K> DomainKey<K> {
    /// Whether it signs for authors in the domain `author`, in A-labels and lower case.
    #[must_use]
    pub fn covers(&self, author: &str) -> bool {
        match author.strip_suffix(&self.domain) {
            Some("") => true,
            Some(sub) => self.subdomains && sub.ends_with('.'),
            None => false,
        }
    }

    fn begun(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now)
    }

    fn ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// How a message is handled that must be signed and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSigningFailure {
    /// It is refused temporarily.
    #[default]
    Defer,
    /// It is accepted without a signature, which is logged.
    Unsigned,
}

/// The keys, and the fields that they sign. `K` is as in [`DomainKey`].
#[derive(Debug, Clone)]
pub struct Rules<K = SigningKey> {
    /// All keys. Of several for the same mail and algorithm the one that started last signs; if equal, the last in this list.
    pub keys: Vec<DomainKey<K>>,
    /// Fields that are signed if present.
    pub headers: Vec<FieldName>,
    /// Fields that are oversigned.
    pub oversigned: Vec<FieldName>,
    /// For how long a signature is valid, `x=`; `None`: without `x=`.
    pub expiration: Option<Duration>,
    /// How a message that cannot be signed is handled.
    pub on_failure: OnSigningFailure,
}

impl Default for Rules {
    /// No key.
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| FieldName((*name).to_owned())).collect();
        Self {
            keys: Vec::new(),
            headers: names(&DEFAULT_HEADERS),
            oversigned: names(&DEFAULT_OVERSIGNED),
            expiration: None,
            on_failure: OnSigningFailure::default(),
        }
    }
}

/// Which keys sign a message.
#[derive(Debug)]
pub(super) enum Choice<'r> {
    /// One of each algorithm, RSA first; at least one.
    Keys(Vec<&'r DomainKey>),
    /// There is no key for the domain, or none has started.
    NoKey,
    /// All keys of the domain have ended. The domain as in `d=`.
    Ended(&'r str),
}

impl Rules {
    /// The keys for mail of `author`, a domain in A-labels and lower case, at `now`: those of the domain, or of its closest
    /// parent with keys.
    pub(super) fn choose(&self, author: &str, now: Timestamp) -> Choice<'_> {
        let covering = self.keys.iter().filter(|key| key.covers(author));
        let Some(domain) = covering
            .clone()
            .map(|key| key.domain.as_str())
            .max_by_key(|domain| domain.len())
        else {
            return Choice::NoKey;
        };
        let of_domain = covering.filter(|key| key.domain == domain && key.begun(now));
        let newest = |algorithm: Algorithm| {
            let valid = of_domain
                .clone()
                .filter(|key| !key.ended(now) && key.key.algorithm() == algorithm);
            // If equal, the last one.
            valid.max_by_key(|key| key.from)
        };
        let keys: Vec<_> = [Algorithm::Rsa, Algorithm::Ed25519]
            .into_iter()
            .filter_map(newest)
            .collect();
        match (keys.is_empty(), of_domain.clone().next()) {
            (false, _) => Choice::Keys(keys),
            (true, Some(_)) => Choice::Ended(domain),
            (true, None) => Choice::NoKey,
        }
    }

    /// The names for `h=`, as often as a message has the field according to `count`, and once more if it is oversigned.
    pub(super) fn signed_names(&self, count: impl Fn(&str) -> usize) -> Vec<(&str, usize)> {
        let mut names: Vec<(&str, usize)> = Vec::new();
        let all =
            std::iter::once("From").chain(self.headers.iter().chain(&self.oversigned).map(FieldName::as_str));
        for name in all {
            if names.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let over = name.eq_ignore_ascii_case("From")
                || self
                    .oversigned
                    .iter()
                    .any(|over| over.as_str().eq_ignore_ascii_case(name));
            names.push((name, count(name) + usize::from(over)));
        }
        names.retain(|(_, count)| *count > 0);
        names
    }
}
