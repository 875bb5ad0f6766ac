//! Fingerprints of certificates.

use ring::digest::{SHA256, digest};
use std::fmt::Write;

/// The SHA-256 of `der` in hexadecimal digits.
pub(crate) fn sha256_hex(der: &[u8]) -> String {
    digest(&SHA256, der)
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
