//! The signature of a handshake by the key of a certificate that webpki does not read: version 1, unknown critical extensions.
//!
//! For sessions that trust no certificate anyway. It finds the key and checks the signature by it; of the certificate nothing else counts.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::alg_id::RSA_ENCRYPTION;
use rustls::{DigitallySignedStruct, SignatureScheme};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// `[0] EXPLICIT`, the version of a certificate that has one.
const VERSION: u8 = 0xa0;
/// The smallest RSA modulus, in bytes, that *ring* checks signatures by.
const LEAST_RSA: usize = 256;

/// What is known of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
    /// There is no algorithm here for such a key, or no key was found.
    Unknown,
}

/// Checks `signature` of `message` by the key in `certificate`.
pub(super) fn check(
    certificate: &[u8],
    message: &[u8],
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Checked {
    let Some(key) = PublicKey::of(certificate) else {
        return Checked::Unknown;
    };
    let of_scheme = |(scheme, _): &&(SignatureScheme, _)| *scheme == signature.scheme;
    let Some((_, candidates)) = algorithms.mapping.iter().find(of_scheme) else {
        return Checked::Unknown;
    };
    let mut fitting = candidates
        .iter()
        .filter(|candidate| candidate.public_key_alg_id().as_ref() == key.algorithm)
        .peekable();
    if fitting.peek().is_none() || key.is_short_rsa() {
        return Checked::Unknown;
    }
    let right = fitting.any(|candidate| {
        candidate
            .verify_signature(key.bits, message, signature.signature())
            .is_ok()
    });
    if right { Checked::Right } else { Checked::Wrong }
}

/// A public key as a certificate holds it (RFC 5280 section 4.1).
struct PublicKey<'a> {
    /// The contents of its AlgorithmIdentifier.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut tbs, _) = element(certificate, SEQUENCE)?;
        if let Some((_, rest)) = element(tbs, VERSION) {
            tbs = rest;
        }
        let (_, rest) = element(tbs, INTEGER)?;
        // The signature's algorithm, the issuer, the validity and the subject.
        let rest = (0..4).try_fold(rest, |rest, _| Some(element(rest, SEQUENCE)?.1))?;
        let (info, _) = element(rest, SEQUENCE)?;
        let (algorithm, rest) = element(info, SEQUENCE)?;
        let (bits, _) = element(rest, BIT_STRING)?;
        let (unused, bits) = bits.split_first()?;
        (*unused == 0).then_some(Self { algorithm, bits })
    }

    fn is_short_rsa(&self) -> bool {
        let modulus = || {
            let (key, _) = element(self.bits, SEQUENCE)?;
            let (modulus, _) = element(key, INTEGER)?;
            Some(modulus.iter().skip_while(|byte| **byte == 0).count())
        };
        self.algorithm == RSA_ENCRYPTION.as_ref() && modulus().is_none_or(|bytes| bytes < LEAST_RSA)
    }
}

/// The contents of the DER element with `tag` at the start of `bytes`, and what follows it.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits
                .iter()
                .fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::server::ParsedCertificate;

    #[test]
    fn the_key_is_the_one_that_webpki_finds() {
        let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
        let der: &CertificateDer<'_> = made.cert.der();
        let info = ParsedCertificate::try_from(der)
            .unwrap()
            .subject_public_key_info();
        let (info, _) = element(&info, SEQUENCE).unwrap();
        let key = PublicKey::of(der).unwrap();
        assert_eq!(element(info, SEQUENCE).unwrap().0, key.algorithm);
        assert_eq!(key.bits.len(), 65);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0_usize..400, flip in 0_usize..400) {
            let _ = PublicKey::of(&bytes);
            let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
            let mut der = made.cert.der().to_vec();
            if let Some(byte) = der.get_mut(flip) {
                *byte ^= 0x81;
            }
            der.truncate(cut);
            let _ = PublicKey::of(&der);
            bytes.extend_from_slice(&der);
            let _ = PublicKey::of(&bytes);
        }
    }
}
