//! Checks the signatures of a message (RFC 6376 section 6). The keys come from [`Resolve`]; everything else is pure.

use super::canon::{self, Canon};
use super::key::Algorithm;
use super::record::{KeyRecord, record_name};
use super::tags::{Tags, base64};
use crate::client::{LookupError, Resolve};
use crate::der::rsa_bits;
use crate::submission::{Field, Fields, body_start};
use ring::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey, VerificationAlgorithm,
};
use spool_core::{Timestamp, a_labels, valid_domain};
use thiserror::Error;

/// The most signatures of one message that are checked.
pub const MAX_SIGNATURES: usize = 10;
/// Names in `h=`.
const MAX_NAMES: usize = 1000;
/// How far a clock may be behind, in seconds.
const SKEW: i64 = 300;

/// Why a signature is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// It cannot be checked.
    #[error("the signature field is not valid: {0}")]
    Malformed(&'static str),
    /// It has expired.
    #[error("the signature has expired")]
    Expired,
    /// It was made in the future.
    #[error("the signature was made in the future")]
    Future,
    /// DNS has no key.
    #[error("there is no key in DNS: {0}")]
    NoKey(LookupError),
    /// The record in DNS is none, or does not fit.
    #[error("the key record in DNS does not fit: {0}")]
    Record(&'static str),
    /// The body was changed.
    #[error("the body was changed after it was signed")]
    Body,
    /// A signed header field was changed.
    #[error(
        "a signed header field was changed, added or removed after it was signed, or the key is another one"
    )]
    Signature,
}

/// The result of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureResult {
    /// `d=`; empty where it cannot be read.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// `a=`.
    pub algorithm: String,
    /// Whether it is valid.
    pub result: Result<(), Invalid>,
}

/// Checks every signature of `message`, which consists of lines ended by CRLF, from the top.
pub async fn verify(message: &[u8], dns: &dyn Resolve, now: Timestamp) -> Vec<SignatureResult> {
    let mut verdicts = Vec::new();
    let fields = Fields::of(message).filter(|field| field.is("DKIM-Signature"));
    for field in fields.take(MAX_SIGNATURES) {
        let text = String::from_utf8_lossy(field.value()).into_owned();
        let tags = Tags::parse(&text);
        let tag = |name| {
            tags.as_ref()
                .and_then(|tags| tags.get(name))
                .unwrap_or_default()
                .to_owned()
        };
        let tags = tags.as_ref().ok_or(Invalid::Malformed("it is no list of tags"));
        let result = match tags.and_then(|tags| Signature::read(tags, now)) {
            Ok(signature) => signature.verify(&field, message, dns).await,
            Err(why) => Err(why),
        };
        verdicts.push(SignatureResult {
            domain: tag("d"),
            selector: tag("s"),
            algorithm: tag("a"),
            result,
        });
    }
    verdicts
}

/// A signature, from its tags.
struct Signature<'t> {
    algorithm: Algorithm,
    header: Canon,
    body: Canon,
    domain: String,
    selector: &'t str,
    /// Whether `i=` is in a subdomain.
    of_subdomain: bool,
    names: Vec<&'t str>,
    body_hash: Vec<u8>,
    length: Option<u64>,
    signature: Vec<u8>,
}

impl<'t> Signature<'t> {
    fn read(tags: &Tags<'t>, now: Timestamp) -> Result<Self, Invalid> {
        let bad = Invalid::Malformed;
        let tag = |name, why| tags.get(name).ok_or(Invalid::Malformed(why));
        if tag("v", "v= is missing")? != "1" {
            return Err(bad("v= is not 1"));
        }
        let algorithm = match tag("a", "a= is missing")?.to_ascii_lowercase().as_str() {
            "rsa-sha256" => Algorithm::Rsa,
            "ed25519-sha256" => Algorithm::Ed25519,
            "rsa-sha1" => return Err(bad("a= is rsa-sha1, which counts no more (RFC 8301)")),
            _ => return Err(bad("a= is not known")),
        };
        let (header, body) = canons(tags.get("c")).ok_or(bad("c= is not known"))?;
        let domain = tag("d", "d= is missing")?;
        let names: Vec<&str> = tag("h", "h= is missing")?
            .split(':')
            .map(str::trim_ascii)
            .collect();
        if names.len() > MAX_NAMES || !names.iter().any(|name| name.eq_ignore_ascii_case("from")) {
            return Err(bad("h= does not name From, or more than 1,000 fields"));
        }
        if tags
            .get("q")
            .is_some_and(|q| !q.split(':').any(|way| way.trim_ascii() == "dns/txt"))
        {
            return Err(bad("q= is not dns/txt"));
        }
        let identity = tags
            .get("i")
            .map_or(domain, |i| i.rsplit('@').next().unwrap_or(i));
        let (domain, identity) = (a_labels(domain), a_labels(identity));
        let of_subdomain = identity != domain;
        let below = identity
            .strip_suffix(&*domain)
            .is_some_and(|sub| sub.ends_with('.'));
        if !valid_domain(&domain) || of_subdomain && !below {
            return Err(bad("d= is no domain, or i= is not in it"));
        }
        times(tags, now)?;
        Ok(Self {
            algorithm,
            header,
            body,
            domain: domain.into_owned(),
            selector: tag("s", "s= is missing")?,
            of_subdomain,
            names,
            body_hash: base64(tag("bh", "bh= is missing")?).ok_or(bad("bh= is not base64"))?,
            length: number(tags, "l")?.and_then(|length| u64::try_from(length).ok()),
            signature: base64(tag("b", "b= is missing")?).ok_or(bad("b= is not base64"))?,
        })
    }

    /// Section 6.1.2: any of several records may be the right one.
    async fn verify(&self, field: &Field<'_>, message: &[u8], dns: &dyn Resolve) -> Result<(), Invalid> {
        let name = record_name(&self.domain, self.selector);
        let records = dns.texts(&name).await.map_err(Invalid::NoKey)?;
        let mut last = Err(Invalid::Record("there is none"));
        for text in &records {
            last = match KeyRecord::parse(text) {
                Some(record) => self.check(field, message, &record),
                None => Err(Invalid::Record("it is no key record")),
            };
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn check(&self, field: &Field<'_>, message: &[u8], record: &KeyRecord) -> Result<(), Invalid> {
        if record.key.is_empty() {
            return Err(Invalid::Record("the key was revoked"));
        }
        if record.algorithm != Some(self.algorithm) {
            return Err(Invalid::Record("the key is for another algorithm"));
        }
        if !record.sha256 || !record.email || record.strict && self.of_subdomain {
            return Err(Invalid::Record("it does not allow this signature"));
        }
        let body = message.get(body_start(message)..).unwrap_or_default();
        let hash = canon::body(body, self.body, self.length);
        if self.length.is_some_and(|length| length > hash.length) || hash.hash[..] != self.body_hash[..] {
            return Err(Invalid::Body);
        }
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Rsa if rsa_bits(&record.key).is_none_or(|bits| bits < 1024) => {
                return Err(Invalid::Record("the RSA key is shorter than 1024 bits"));
            }
            Algorithm::Rsa => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Algorithm::Ed25519 => &ED25519,
        };
        let is_signed = |other: &Field<'_>| self.names.iter().any(|name| other.is(name));
        let fields = Fields::of(message).filter(|other| other.at != field.at && is_signed(other));
        let (names, own) = (self.names.iter().copied(), without_signature(field.raw));
        let mut data = canon::signed_data(names, fields, &own, self.header);
        if self.algorithm == Algorithm::Ed25519 {
            data = ring::digest::digest(&ring::digest::SHA256, &data)
                .as_ref()
                .to_vec();
        }
        UnparsedPublicKey::new(algorithm, &record.key)
            .verify(&data, &self.signature)
            .map_err(|_| Invalid::Signature)
    }
}

fn canons(tag: Option<&str>) -> Option<(Canon, Canon)> {
    let canon = |name: &str| match name.to_ascii_lowercase().as_str() {
        "simple" => Some(Canon::Simple),
        "relaxed" => Some(Canon::Relaxed),
        _ => None,
    };
    let (header, body) = tag.map_or(("simple", "simple"), |tag| {
        tag.split_once('/').unwrap_or((tag, "simple"))
    });
    Some((canon(header)?, canon(body)?))
}

fn number(tags: &Tags<'_>, name: &str) -> Result<Option<i64>, Invalid> {
    let Some(text) = tags.get(name) else {
        return Ok(None);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits are a time beyond all others.
    let number = text.parse().unwrap_or(i64::MAX);
    match digits {
        true => Ok(Some(number)),
        false => Err(Invalid::Malformed("a number has other characters than digits")),
    }
}

fn times(tags: &Tags<'_>, now: Timestamp) -> Result<(), Invalid> {
    let now = now.0.div_euclid(1000);
    let (made, ends) = (number(tags, "t")?, number(tags, "x")?);
    if made.zip(ends).is_some_and(|(made, ends)| ends <= made) {
        return Err(Invalid::Malformed("x= is not after t="));
    }
    if ends.is_some_and(|ends| ends.saturating_add(SKEW) < now) {
        return Err(Invalid::Expired);
    }
    match made.is_some_and(|made| made > now.saturating_add(SKEW)) {
        true => Err(Invalid::Future),
        false => Ok(()),
    }
}

/// The field with an empty value of `b=`, and without a line end if that is the last tag; everything else, white space included, is
/// unchanged.
fn without_signature(raw: &[u8]) -> Vec<u8> {
    let after = |text: &[u8], end: u8| text.iter().position(|byte| *byte == end).map_or(0, |at| at + 1);
    // The name of the field comes before the first tag.
    let (name, tags) = raw.split_at_checked(after(raw, b':')).unwrap_or((raw, &[]));
    let mut out = name.to_vec();
    for (nth, tag) in tags.split(|byte| *byte == b';').enumerate() {
        if nth > 0 {
            out.push(b';');
        }
        let (name, _) = tag.split_at_checked(after(tag, b'=')).unwrap_or((tag, &[]));
        let is_b = name
            .strip_suffix(b"=")
            .is_some_and(|name| name.trim_ascii() == b"b");
        out.extend_from_slice(if is_b { name } else { tag });
    }
    out
}
