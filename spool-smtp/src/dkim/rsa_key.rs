//! RSA public keys in DNS: an RSAPublicKey (RFC 8017 appendix A.1.1), alone or in a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).

use crate::der::{BIT_STRING, INTEGER, SEQUENCE, element};

/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }`
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The SubjectPublicKeyInfo with an RSAPublicKey.
pub(super) fn spki_of_rsa(rsa: &[u8]) -> Vec<u8> {
    let bits = value(BIT_STRING, &[&[0], rsa].concat());
    value(SEQUENCE, &[&RSA_ENCRYPTION[..], &bits].concat())
}

/// The RSAPublicKey in a SubjectPublicKeyInfo; or `key` itself, when it is one (RFC 6376 section 3.6.1, errata 3017).
pub(super) fn rsa_of(key: &[u8]) -> Option<&[u8]> {
    let (inside, []) = element(key, SEQUENCE)? else {
        return None;
    };
    if inside.first() == Some(&INTEGER) {
        return Some(key);
    }
    let bits = inside.strip_prefix(&RSA_ENCRYPTION[..])?;
    let (bits, []) = element(bits, BIT_STRING)? else {
        return None;
    };
    bits.strip_prefix(&[0])
}

/// How many bits the modulus of an RSAPublicKey has.
pub(super) fn rsa_bits(rsa: &[u8]) -> Option<usize> {
    let (inside, _) = element(rsa, SEQUENCE)?;
    let (modulus, _) = element(inside, INTEGER)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let leading = modulus.get(first)?.leading_zeros();
    Some((modulus.len() - first) * 8 - usize::try_from(leading).ok()?)
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let first = length
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(length.len() - 1);
    let length = length.get(first..).unwrap_or_default();
    let mut out = vec![tag];
    match length {
        [short @ 0..=0x7f] => out.push(*short),
        // At most eight bytes.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_wrapping_and_without() {
        for bytes in [1, 100, 127, 128, 200, 255, 256, 400, 512] {
            let modulus = value(INTEGER, &[&[0], &vec![0xff; bytes][..]].concat());
            let key = value(SEQUENCE, &[&modulus[..], &[2, 1, 3]].concat());
            let spki = spki_of_rsa(&key);
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
