//! xtext (RFC 3461 section 4): printable ASCII, in which `+` and two hexadecimal digits stand for an octet.

use std::fmt::Write;

/// Encodes `text`: `+`, `=` and all but printable ASCII become `+` and two hexadecimal digits.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "+{byte:02X}");
        }
    }
    out
}

/// Decodes `text`, with hexadecimal digits in any case. `None` when it is not xtext, or stands for anything but printable ASCII.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut digit = || chars.next()?.to_digit(16);
        let decoded = match c {
            '+' => char::from_u32(digit()? << 4 | digit()?)?,
            '!'..='~' if c != '=' => c,
            _ => return None,
        };
        out.push((' '..='~').contains(&decoded).then_some(decoded)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let printable: String = (' '..='~').collect();
        let encoded = encode(&printable);
        assert!(encoded.starts_with("+20!") && encoded.contains("+2B,") && encoded.contains("+3D>"));
        assert_eq!(decode(&encoded), Some(printable));
        assert_eq!(encode("\u{fc}"), "+C3+BC");
    }

    #[test]
    fn what_is_no_xtext_is_refused() {
        assert_eq!(decode("a+2bb+3D+20c").as_deref(), Some("a+b= c"));
        for bad in [
            "a=b", "a+", "a+4", "a+4g", "++1", "+0D+0A", "+00", "+C3+BC", "a b", "\u{fc}",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
