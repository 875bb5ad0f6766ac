//! Checks the signature of a handshake with the key of a certificate that webpki cannot read: version 1, unknown critical extensions.
//!
//! It is used only for sessions that accept any certificate. Nothing but the key is read from the certificate.

use crate::der::{BIT_STRING, SEQUENCE, certificate_fields, element, rsa_bits};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::alg_id::RSA_ENCRYPTION;
use rustls::{DigitallySignedStruct, SignatureScheme};

/// The smallest RSA modulus, in bytes, that *ring* supports.
const LEAST_RSA: usize = 256;

/// Whether `signature` of `message` was provably not made by the key of `certificate`. False if that cannot be checked, because there
/// is no key or its algorithm is not supported.
pub(super) fn refutes(
    certificate: &[u8],
    message: &[u8],
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some(key) = PublicKey::of(certificate) else {
        return false;
    };
    let of_scheme = |(scheme, _): &&(SignatureScheme, _)| *scheme == signature.scheme;
    let candidates = algorithms.mapping.iter().find(of_scheme);
    let mut fitting = candidates
        .into_iter()
        .flat_map(|(_, candidates)| candidates.iter())
        .filter(|candidate| candidate.public_key_alg_id().as_ref() == key.algorithm)
        .peekable();
    let is_known = fitting.peek().is_some() && !key.is_short_rsa();
    let mut verified =
        fitting.map(|candidate| candidate.verify_signature(key.bits, message, signature.signature()));
    is_known && !verified.any(|verified| verified.is_ok())
}

/// The public key of a certificate (RFC 5280 section 4.1).
struct PublicKey<'a> {
    /// The content of its AlgorithmIdentifier.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let rest = certificate_fields(certificate)?;
        // Skips the algorithm of the signature, the issuer, the validity and the subject.
        let rest = (0..4).try_fold(rest, |rest, _| Some(element(rest, SEQUENCE)?.1))?;
        let (info, _) = element(rest, SEQUENCE)?;
        let (algorithm, rest) = element(info, SEQUENCE)?;
        let (bits, _) = element(rest, BIT_STRING)?;
        let (unused, bits) = bits.split_first()?;
        (*unused == 0).then_some(Self { algorithm, bits })
    }

    fn is_short_rsa(&self) -> bool {
        let bits = || rsa_bits(self.bits);
        self.algorithm == RSA_ENCRYPTION.as_ref() && bits().is_none_or(|bits| bits.div_ceil(8) < LEAST_RSA)
    }
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
