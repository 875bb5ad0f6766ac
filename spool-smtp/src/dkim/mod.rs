//! DKIM signatures (RFC 6376, RFC 8463): made for the messages of submitters, and checked.
//!
//! A signature is relaxed/relaxed, covers the whole body and the listed header fields, and states when it was made. A message is signed
//! once, when it is accepted; a later change breaks the signature. ring provides the cryptography.

mod canon;
mod key;
mod pool;
mod record;
mod rsa_key;
mod rules;
mod sign;
mod tags;
#[cfg(test)]
mod tests;
mod verify;

pub use key::{Algorithm, KeyError, SigningKey};
pub use pool::{MAX_WAITING, Signing, SigningCounts};
pub use record::{KeyRecord, Published, published, zone_line};
pub use rules::{DEFAULT_HEADERS, DEFAULT_OVERSIGNED, DomainKey, FieldName, OnSigningFailure, Rules};
pub use sign::{Fragility, SigningOutcome, Skipped, sign};
pub use verify::{Invalid, MAX_SIGNATURES, SignatureResult, verify};
