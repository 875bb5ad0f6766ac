//! A private key that signs, from a PEM file.

use crate::der::rsa_bits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use derive_more::Display;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::alg_id::RSA_ENCRYPTION;
use rustls::pki_types::pem::{self, PemObject};
use rustls::sign::public_key_to_spki;
use thiserror::Error;

/// Bits of an RSA modulus (RFC 8301 section 3.2; ring signs with at most 4096).
const RSA_BITS: usize = 2048;

/// How a signature is made.
///
/// It is shown as the value of the tag `a=` of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: every receiver checks it.
    #[display("rsa-sha256")]
    Rsa,
    /// Ed25519 (RFC 8463): in addition to RSA; not every receiver checks it.
    #[display("ed25519-sha256")]
    Ed25519,
}

impl Algorithm {
    /// The value of the tag `k=` of a key record.
    #[must_use]
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Why a file has no usable key. The error contains no part of the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is no private key in it.
    #[error(
        "holds no private key: PEM with PRIVATE KEY (PKCS#8) or RSA PRIVATE KEY (PKCS#1), not encrypted, is needed"
    )]
    NoKey,
    /// There are several.
    #[error("holds more than one private key")]
    Several,
    /// It is neither RSA nor Ed25519.
    #[error("the key is neither RSA nor Ed25519")]
    OtherAlgorithm,
    /// It is too short.
    #[error(
        "the RSA key is shorter than {RSA_BITS} bits, and signatures of such keys are not trusted (RFC 8301)"
    )]
    TooShort,
    /// It is too long.
    #[error("the RSA key is longer than 4096 bits")]
    TooLong,
    /// It is damaged.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
}

/// A key that signs. It is shown without the key.
#[derive(derive_more::Debug)]
#[debug("SigningKey({})", self.algorithm())]
pub struct SigningKey(Pair);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// The one key in a PEM file: RSA of 2048 to 4096 bits in PKCS#1 or PKCS#8, or Ed25519 in PKCS#8.
    ///
    /// # Errors
    /// What is wrong with the file, without a part of its content.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let mut keys = PrivateKeyDer::pem_slice_iter(pem);
        let key = match keys.next() {
            Some(Ok(key)) => key,
            None | Some(Err(pem::Error::NoItemsFound)) => return Err(KeyError::NoKey),
            Some(Err(error)) => return Err(KeyError::Unusable(format!("the PEM is damaged: {error:?}"))),
        };
        if keys.next().is_some() {
            return Err(KeyError::Several);
        }
        match &key {
            PrivateKeyDer::Pkcs1(key) => rsa(RsaKeyPair::from_der(key.secret_pkcs1_der())),
            PrivateKeyDer::Pkcs8(key) => Self::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(_) | _ => Err(KeyError::OtherAlgorithm),
        }
    }

    /// A key in PKCS#8, as DER.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        // Version 1, which OpenSSL writes, has no public key to compare with.
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => Ok(Self(Pair::Ed25519(Box::new(pair)))),
            Err(_) => rsa(RsaKeyPair::from_pkcs8(der)),
        }
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The public key for `p=`: a SubjectPublicKeyInfo (RFC 6376 section 3.6.1), or the bare key (RFC 8463 section 4).
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        match &self.0 {
            Pair::Rsa(pair) => public_key_to_spki(&RSA_ENCRYPTION, pair.public()).to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The text of the TXT record that publishes it.
    #[must_use]
    pub fn record(&self) -> String {
        let (kind, key) = (self.algorithm().key_type(), STANDARD.encode(self.public_key()));
        format!("v=DKIM1; k={kind}; p={key}")
    }

    /// The signature over `data`; Ed25519 signs its SHA-256 (RFC 8463 section 3).
    ///
    /// # Errors
    /// When the system returns no random numbers, or the key is damaged in memory.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| "the RSA signature failed".to_owned())?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let hash = ring::digest::digest(&ring::digest::SHA256, data);
                Ok(pair.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

fn rsa(pair: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<SigningKey, KeyError> {
    let pair = pair.map_err(|error| match error.to_string().as_str() {
        "TooSmall" => KeyError::TooShort,
        "TooLarge" => KeyError::TooLong,
        "WrongAlgorithm" => KeyError::OtherAlgorithm,
        other => KeyError::Unusable(other.to_owned()),
    })?;
    match rsa_bits(pair.public().as_ref()) {
        Some(RSA_BITS..) => Ok(SigningKey(Pair::Rsa(Box::new(pair)))),
        Some(_) | None => Err(KeyError::TooShort),
    }
}
