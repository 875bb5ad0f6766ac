//! Makes the signatures of one message (RFC 6376 section 5). Pure, except that the cryptography uses random numbers for blinding.

use super::canon::{self, BodyHash, Canon};
use super::rules::{Choice, DomainKey, Rules};
use crate::submission::{Field, Fields, Folded, NoAuthor, author_domain, body_start};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spool_core::Timestamp;
use thiserror::Error;

/// Header fields that one signature may name. Ordinary messages have a tenth of this.
const MAX_NAMES: usize = 500;
/// Bytes of header fields that one signature may cover.
const MAX_SIGNED: usize = 1 << 20;
/// The longest line of a message (RFC 5322 section 2.1.1). Some servers break longer ones in transit, and with them the signature.
const MAX_LINE: usize = 998;

/// Why a message is not signed, without being an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Skipped {
    /// It has no single author.
    #[error(transparent)]
    Author(#[from] NoAuthor),
    /// There is no key for the domain of its author, or none has started yet.
    #[error("no key is for the domain of its author")]
    NoKey,
    /// Its header section has a line that is not a header field, which receivers read differently.
    #[error("a line of its header section is no header field")]
    Malformed,
    /// It has too many fields to sign, or they are too long.
    #[error("its header fields are too many, or too long")]
    TooLarge,
}

/// Properties of a message that may break its signatures in transit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fragility {
    /// A line of the body or of a header field is longer than 998 bytes.
    pub long_line: bool,
    /// It is not all ASCII: a server may re-encode it for one without 8BITMIME.
    pub eight_bit: bool,
}

/// The result for a message.
#[derive(Debug, PartialEq, Eq)]
pub enum SigningOutcome {
    /// Its signatures: header fields to be prepended.
    Signed {
        /// Whole lines.
        fields: Vec<u8>,
        /// The domain of the keys.
        domain: String,
        /// Properties that may break them.
        fragility: Fragility,
    },
    /// It is not to be signed.
    Skipped(Skipped),
    /// It must be signed and cannot be, with the reason.
    Failed(String),
}

/// Signs `message`, which consists of lines ended by CRLF, with the keys that `rules` have for its author at `now`: RSA before
/// Ed25519. Neither signature covers the other one.
#[must_use]
pub fn sign(rules: &Rules, message: &[u8], now: Timestamp) -> SigningOutcome {
    match keys(rules, message, now) {
        Ok(keys) => with(rules, &keys, message, now),
        Err(outcome) => outcome,
    }
}

/// The keys for `message`, or the result without keys.
pub(super) fn keys<'r>(
    rules: &'r Rules,
    message: &[u8],
    now: Timestamp,
) -> Result<Vec<&'r DomainKey>, SigningOutcome> {
    let author = author_domain(message).map_err(|why| SigningOutcome::Skipped(why.into()))?;
    match rules.choose(&author, now) {
        Choice::Keys(keys) => Ok(keys),
        Choice::NoKey => Err(SigningOutcome::Skipped(Skipped::NoKey)),
        Choice::Ended(domain) => Err(SigningOutcome::Failed(format!(
            "every key for {domain} has ended"
        ))),
    }
}

fn with(rules: &Rules, keys: &[&DomainKey], message: &[u8], now: Timestamp) -> SigningOutcome {
    let header = match Header::of(rules, message) {
        Ok(header) => header,
        Err(skipped) => return SigningOutcome::Skipped(skipped),
    };
    let body = message.get(body_start(message)..).unwrap_or_default();
    let hash = canon::body(body, Canon::Relaxed, None);
    let mut fields = Vec::new();
    for key in keys {
        match signature(rules, key, &header, &hash, now) {
            Ok(field) => fields.extend_from_slice(&field),
            Err(why) => return SigningOutcome::Failed(format!("{key}: {why}")),
        }
    }
    SigningOutcome::Signed {
        fields,
        domain: keys.first().map_or_else(String::new, |key| key.domain.clone()),
        fragility: Fragility {
            long_line: header.long_line || hash.longest_line > MAX_LINE,
            eight_bit: !message.is_ascii(),
        },
    }
}

/// The part of the header section that a signature covers, not yet canonical.
struct Header<'r, 'm> {
    /// For `h=`: each name as often as it is signed.
    names: Vec<&'r str>,
    /// The fields with these names, from the top.
    fields: Vec<Field<'m>>,
    long_line: bool,
}

impl<'r, 'm> Header<'r, 'm> {
    fn of(rules: &'r Rules, message: &'m [u8]) -> Result<Self, Skipped> {
        let mut fields: Vec<Field<'m>> = Vec::new();
        let wanted = rules.signed_names(|_| 1);
        let (mut size, mut long_line) = (0, false);
        for field in Fields::of(message) {
            if field.name().is_none() {
                return Err(Skipped::Malformed);
            }
            if wanted.iter().any(|(name, _)| field.is(name)) {
                fields.push(field);
                size += field.raw.len();
                long_line |= field
                    .raw
                    .split(|byte| *byte == b'\n')
                    .any(|line| line.len() > MAX_LINE + 1);
            }
            if fields.len() > MAX_NAMES || size > MAX_SIGNED {
                return Err(Skipped::TooLarge);
            }
        }
        let names = rules.signed_names(|name| fields.iter().filter(|field| field.is(name)).count());
        let names = names.into_iter();
        Ok(Self {
            names: names
                .flat_map(|(name, count)| std::iter::repeat_n(name, count))
                .collect(),
            fields,
            long_line,
        })
    }
}

fn signature(
    rules: &Rules,
    key: &DomainKey,
    header: &Header<'_, '_>,
    body: &BodyHash,
    now: Timestamp,
) -> Result<Vec<u8>, String> {
    let seconds = now.0.div_euclid(1000);
    let mut text = Vec::new();
    let mut field = Folded::new(&mut text, "DKIM-Signature:");
    field.word(&["v=1;"]);
    field.word(&[&format!("a={};", key.key.algorithm())]);
    field.word(&["c=relaxed/relaxed;"]);
    field.word(&["d=", &key.domain, ";"]);
    field.word(&["s=", &key.selector, ";"]);
    field.word(&[&format!("t={seconds};")]);
    if let Some(span) = rules.expiration {
        let seconds = now.after(span).0.div_euclid(1000);
        field.word(&[&format!("x={seconds};")]);
    }
    for (nth, name) in header.names.iter().enumerate() {
        let end = if nth + 1 < header.names.len() { ":" } else { ";" };
        match nth {
            0 => field.word(&["h=", name, end]),
            _ => field.piece(&format!("{name}{end}")),
        }
    }
    field.word(&["bh=", &STANDARD.encode(body.hash), ";"]);
    field.word(&["b="]);
    let (names, fields) = (header.names.iter().copied(), header.fields.iter().copied());
    let data = canon::signed_data(names, fields, field.out, Canon::Relaxed);
    let signature = STANDARD.encode(key.key.sign(&data)?);
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (piece, more) = rest
            .split_at_checked(field.room().min(rest.len()))
            .unwrap_or((rest, ""));
        field.piece(piece);
        rest = more;
    }
    text.extend_from_slice(b"\r\n");
    Ok(text)
}
