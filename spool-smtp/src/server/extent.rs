//! Parses and checks the parameters SIZE (RFC 1870) and BODY (RFC 6152) of MAIL.
//!
//! smtp-proto keeps only the last digits of a size that is too long, and accepts each parameter several times, so these two are
//! parsed here.

use super::dsn::{once, take};
use super::reply::{self, ServerReply};
use spool_core::BodyKind;

/// The most digits of a size (RFC 1870 section 3).
const MAX_DIGITS: usize = 20;

/// The announced size and kind of the message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// In octets; [`u64::MAX`] stands for any that is larger.
    pub(super) size: Option<u64>,
    pub(super) body: Option<BodyKind>,
}

/// Parses SIZE and BODY; returns the other parameters of MAIL.
pub(super) fn of_mail(parameters: &str) -> Result<(Extent, String), ServerReply> {
    let mut extent = Extent::default();
    let rest = take(parameters, |name, value| match name {
        "SIZE" => once(&mut extent.size, size(value)?),
        "BODY" => once(&mut extent.body, body(value)?),
        _ => Ok(false),
    })?;
    Ok((extent, rest))
}

fn size(digits: &str) -> Result<u64, ServerReply> {
    let fits = (1..=MAX_DIGITS).contains(&digits.len());
    if !fits || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(reply::BAD_PARAMETER);
    }
    // Twenty digits may exceed 64 bits; no limit is that high.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Result<BodyKind, ServerReply> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyKind::SevenBit),
        "8BITMIME" => Ok(BodyKind::EightBitMime),
        "BINARYMIME" => Err(reply::BODY_NOT_IMPLEMENTED),
        _ => Err(reply::BAD_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_taken_out_and_the_others_are_left() {
        let (extent, rest) = of_mail(" size=00000000000000000007 RET=HDRS Body=8bitmime X").unwrap();
        assert_eq!(
            extent,
            Extent {
                size: Some(7),
                body: Some(BodyKind::EightBitMime),
            }
        );
        assert_eq!(rest, " RET=HDRS X");
        assert_eq!(of_mail("").unwrap(), (Extent::default(), String::new()));
    }

    #[test]
    fn a_size_is_digits_and_never_wraps() {
        for (value, expected) in [
            ("0", Ok(0)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Ok(u64::MAX)),
            ("99999999999999999999", Ok(u64::MAX)),
            ("999999999999999999999", Err(reply::BAD_PARAMETER)),
            ("99999999999999999999999", Err(reply::BAD_PARAMETER)),
            ("+1", Err(reply::BAD_PARAMETER)),
            ("-1", Err(reply::BAD_PARAMETER)),
            ("", Err(reply::BAD_PARAMETER)),
            ("1x", Err(reply::BAD_PARAMETER)),
        ] {
            let size = of_mail(&format!(" SIZE={value}")).map(|(extent, _)| extent.size);
            assert_eq!(size, expected.map(Some), "{value}");
        }
    }

    #[test]
    fn each_may_be_given_once() {
        for twice in [
            " SIZE=1 SIZE=2",
            " SIZE=1 size=1",
            " BODY=8BITMIME BODY=7BIT",
            " BODY=7BIT BODY=7BIT",
            " SIZE",
            " BODY",
        ] {
            assert_eq!(of_mail(twice), Err(reply::BAD_PARAMETER), "{twice}");
        }
    }
}
