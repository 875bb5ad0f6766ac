//! Reads DER (ITU-T X.690), as far as certificates and public keys need it.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
/// `[0] EXPLICIT`: the version of a certificate, if it has one.
const VERSION: u8 = 0xa0;

/// The content of the element with `tag` at the start of `bytes`, and the bytes after it.
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

/// The fields of a certificate after its serial number (RFC 5280 section 4.1).
pub(crate) fn certificate_fields(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(certificate, SEQUENCE)?;
    let fields = element(fields, VERSION).map_or(fields, |(_, rest)| rest);
    Some(element(fields, INTEGER)?.1)
}

/// How many bits the modulus of an RSAPublicKey has (RFC 8017 appendix A.1.1).
pub(crate) fn rsa_bits(rsa: &[u8]) -> Option<usize> {
    let (inside, _) = element(rsa, SEQUENCE)?;
    let (modulus, _) = element(inside, INTEGER)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let leading = modulus.get(first)?.leading_zeros();
    Some((modulus.len() - first) * 8 - usize::try_from(leading).ok()?)
}
