//! RSA public keys in DNS: an RSAPublicKey (RFC 8017 appendix A.1.1), alone or in a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).

use crate::der::{BIT_STRING, INTEGER, SEQUENCE, element};
use rustls::pki_types::alg_id::RSA_ENCRYPTION;

/// The RSAPublicKey in a SubjectPublicKeyInfo; or `key` itself, when it is one (RFC 6376 section 3.6.1, errata 3017).
pub(super) fn rsa_of(key: &[u8]) -> Option<&[u8]> {
    let (inside, []) = element(key, SEQUENCE)? else {
        return None;
    };
    if inside.first() == Some(&INTEGER) {
        return Some(key);
    }
    let (algorithm, bits) = element(inside, SEQUENCE)?;
    let (bits, []) = element(bits, BIT_STRING)? else {
        return None;
    };
    bits.strip_prefix(&[0])
        .filter(|_| algorithm == RSA_ENCRYPTION.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::rsa_bits;
    use rustls::sign::public_key_to_spki;

    /// The element with this tag and content.
    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head: &[u8] = match length {
            [0, short @ 0..=0x7f] => &[tag, short],
            [0, low] => &[tag, 0x81, low],
            [high, low] => &[tag, 0x82, high, low],
        };
        [head, content].concat()
    }

    #[test]
    fn a_key_is_found_in_its_wrapping_and_without() {
        for bytes in [1, 100, 127, 128, 200, 255, 256, 400, 512] {
            let modulus = value(INTEGER, &[&[0], &vec![0xff; bytes][..]].concat());
            let key = value(SEQUENCE, &[&modulus[..], &[2, 1, 3]].concat());
            let spki = public_key_to_spki(&RSA_ENCRYPTION, &key);
            assert_eq!(rsa_of(&spki), Some(&key[..]));
            assert_eq!(rsa_of(&key), Some(&key[..]));
            assert_eq!(rsa_bits(&key), Some(bytes * 8));
            for end in 0..spki.len() {
                assert_eq!(rsa_of(&spki[..end]), None);
            }
            assert_eq!(rsa_of(&[&spki[..], &[0]].concat()), None);
        }
        assert_eq!(rsa_bits(&[0x30, 3, 2, 1, 0x11]), Some(5));
    }
}
