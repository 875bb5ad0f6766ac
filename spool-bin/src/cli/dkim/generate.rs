//! New private keys, in PKCS#8 (RFC 5208, RFC 8410), with the random numbers of the system.

use clap::ValueEnum;
use getrandom::SysRng;
use rsa::pkcs8::EncodePrivateKey;

/// Bits of an RSA key: every receiver accepts them, and signing is fast (RFC 8301).
const RSA_BITS: usize = 2048;
/// An Ed25519 key in PKCS#8 without its public key, up to its 32 bytes: the form that OpenSSL writes and other programs read.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum KeyType {
    /// RSA of 2048 bits
    #[default]
    Rsa,
    /// Ed25519, beside an RSA key of the same domain
    Ed25519,
}

/// A new key of `kind`, as DER.
///
/// # Errors
/// Why no key could be made.
pub(super) fn pkcs8(kind: KeyType) -> Result<Vec<u8>, String> {
    match kind {
        KeyType::Rsa => {
            let key = rsa::PrivateKey::new(&mut SysRng, RSA_BITS).map_err(|error| error.to_string())?;
            let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
            Ok(der.as_bytes().to_vec())
        }
        KeyType::Ed25519 => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
            Ok([&ED25519_PREFIX[..], &seed].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_smtp::dkim::{Algorithm, SigningKey};

    #[test]
    fn new_keys_can_sign_and_are_different_each_time() {
        for (kind, algorithm) in [
            (KeyType::Rsa, Algorithm::Rsa),
            (KeyType::Ed25519, Algorithm::Ed25519),
        ] {
            let [one, other] = [pkcs8(kind).unwrap(), pkcs8(kind).unwrap()];
            assert_ne!(one, other);
            assert_eq!(SigningKey::from_pkcs8(&one).unwrap().algorithm(), algorithm);
        }
    }
}
