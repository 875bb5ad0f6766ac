//! A certificate and its key, parsed from PEM and checked against each other. It reads no file.

use crate::der::{SEQUENCE, certificate_fields, element};
use crate::fingerprint::sha256_hex;
use crate::hidden::Hidden;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use spool_core::Timestamp;
use std::sync::Arc;
use thiserror::Error;

/// Why a certificate and a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The certificates are not PEM, truncated, or missing.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// The key is not PEM, or of an unknown kind.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// The key belongs to another certificate.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

impl CertificateError {
    /// Whether the error is in the key's file, as far as is known.
    #[must_use]
    pub const fn is_of_key(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Mismatch)
    }
}

/// A chain of certificates, the server's own first, and the key of that one.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) key: Hidden<Arc<CertifiedKey>>,
    expires: Timestamp,
}

impl Certificate {
    /// Reads `chain`, PEM, the server's own certificate first, and its `key`, PEM too (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// [`CertificateError`]. None of them contains a part of the key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let wrong = |why: &str| CertificateError::Certificate(why.to_owned());
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(&error.to_string()))?;
        let own = chain
            .first()
            .ok_or_else(|| wrong("there is no certificate in it"))?;
        let expires = expires(own).ok_or_else(|| wrong("its validity cannot be read"))?;
        // The text of this error could contain a part of the file.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| CertificateError::Key("there is no PEM key in it".to_owned()))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
            if let rustls::Error::InvalidCertificate(error) = error {
                return wrong(&format!("{error:?}"));
            }
            if let rustls::Error::InconsistentKeys(_) = error {
                return CertificateError::Mismatch;
            }
            CertificateError::Key(error.to_string())
        })?;
        // `from_der` accepts a key whose public half is unknown; ring has no such key.
        key.keys_match().map_err(|_| CertificateError::Mismatch)?;
        Ok(Self {
            key: Hidden(Arc::new(key)),
            expires,
        })
    }

    /// SHA-256 of the server's own certificate, in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key.0)
    }

    /// When the server's own certificate expires.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
}

pub(super) fn fingerprint(key: &CertifiedKey) -> String {
    let own = key.cert.first().map_or(&[][..], |own| own.as_ref());
    sha256_hex(own)
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate (RFC 5280 section 4.1.2.5).
fn expires(certificate: &[u8]) -> Option<Timestamp> {
    let rest = certificate_fields(certificate)?;
    // The signature's algorithm and the issuer.
    let rest = (0..2).try_fold(rest, |rest, _| Some(element(rest, SEQUENCE)?.1))?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, rest) = time(validity)?;
    Some(time(rest)?.0)
}

/// A time and what follows it: `YYMMDDHHMMSSZ`, or with four digits for the year.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, century, rest) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => {
            // RFC 5280 section 4.1.2.5.1.
            let century = if text.first() >= Some(&b'5') { "19" } else { "20" };
            (text, century, rest)
        }
        None => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            (text, "", rest)
        }
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let part = |from: usize, to: usize| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let whole = part(14, text.len()) == Some("Z");
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    whole
        .then(|| text.parse().ok())
        .flatten()
        .map(|time| (time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn pair(until: (i32, u8, u8)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["mx.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn read(chain: &str, key: &str) -> Result<Certificate, CertificateError> {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn the_expiry_is_that_of_the_certificate() {
        for (until, expected) in [
            ((2031, 2, 28), "2031-02-28T00:00:00Z"),
            ((2049, 12, 31), "2049-12-31T00:00:00Z"),
            // From 2050 on it is a GeneralizedTime.
            ((2050, 1, 1), "2050-01-01T00:00:00Z"),
        ] {
            let (chain, key) = pair(until);
            assert_eq!(read(&chain, &key).unwrap().expires(), expected.parse().unwrap());
        }
    }

    #[test]
    fn errors_are_distinguished_and_contain_no_key() {
        let (chain, key) = pair((2031, 1, 1));
        let (_, other) = pair((2031, 1, 1));
        assert_eq!(read(&chain, &other).unwrap_err(), CertificateError::Mismatch);
        for (chain, key, expected) in [
            ("", key.as_str(), "there is no certificate in it"),
            (&chain[..chain.len() / 2], &key, "the certificate cannot be used"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
                "its validity cannot be read",
            ),
            (&chain, "", "there is no PEM key in it"),
            (&chain, &chain, "there is no PEM key in it"),
            (&chain, &key[..key.len() / 2], "there is no PEM key in it"),
            (
                &chain,
                "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
                "the key cannot be used",
            ),
        ] {
            let error = read(chain, key).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(
                !error.contains("c2VjcmV0") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn keys_are_read_in_each_form_that_openssl_writes() {
        // For these tests alone. The SEC1 file has its curve's parameters before the key.
        let ec = include_str!("../../tests/certificates/ec.pem");
        let rsa = include_str!("../../tests/certificates/rsa.pem");
        for (chain, key) in [
            (ec, include_str!("../../tests/certificates/ec-sec1.key")),
            (rsa, include_str!("../../tests/certificates/rsa-pkcs1.key")),
            (rsa, include_str!("../../tests/certificates/rsa-pkcs8.key")),
        ] {
            let read = read(chain, key).unwrap();
            assert!(read.expires() > "2100-01-01T00:00:00Z".parse().unwrap());
            assert_eq!(read.fingerprint().len(), 64);
        }
        let crossed = read(ec, include_str!("../../tests/certificates/rsa-pkcs8.key"));
        assert_eq!(crossed.unwrap_err(), CertificateError::Mismatch);
        // A chain of two; the second is not looked at.
        assert!(
            read(
                &format!("{ec}{rsa}"),
                include_str!("../../tests/certificates/ec-sec1.key")
            )
            .is_ok()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reading_of_the_validity_panic(flip in 0_usize..400, cut in 0_usize..500, value in proptest::num::u8::ANY) {
            let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
            let mut bytes = made.cert.der().to_vec();
            if let Some(byte) = bytes.get_mut(flip) {
                *byte = value;
            }
            bytes.truncate(cut);
            let _ = expires(&bytes);
        }
    }
}
