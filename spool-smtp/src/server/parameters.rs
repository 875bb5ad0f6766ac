//! Parses and checks the parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), REQUIRETLS (RFC 8689),
//! AUTH (RFC 4954), and those of the DSN extension (RFC 3461 section 4).
//!
//! The values are decoded and printable ASCII: they can be logged, stored, and encoded again.

use super::reply::{self, ServerReply};
use spool_core::{BodyKind, MailParameters, Notify, Ret, xtext};

/// The longest ENVID, as it is given (RFC 3461 section 4.4).
const MAX_ENVID: usize = 100;
/// The longest ORCPT, as it is given (RFC 3461 section 4.2).
const MAX_ORCPT: usize = 500;
/// The longest mailbox of AUTH.
const MAX_AUTH: usize = 256;
/// The most digits of a size (RFC 1870 section 3).
const MAX_DIGITS: usize = 20;

/// The parameters of MAIL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OfMail {
    pub(super) known: MailParameters,
    /// In octets; 0 when not given, [`u64::MAX`] for any that is larger.
    pub(super) size: u64,
    /// Whether AUTH was given. Its value is ignored (RFC 4954 section 5).
    pub(super) auth: bool,
}

/// Parses the parameters of MAIL.
pub(super) fn of_mail(parameters: &str) -> Result<OfMail, ServerReply> {
    let (mut of_mail, mut size, mut body) = (OfMail::default(), None, None);
    let known = &mut of_mail.known;
    each(parameters, |name, value| {
        let text = value.unwrap_or_default();
        match name {
            "SIZE" => once(&mut size, octets(text))?,
            "BODY" if text.eq_ignore_ascii_case("BINARYMIME") => return Err(reply::BODY_NOT_IMPLEMENTED),
            "BODY" => once(&mut body, kind(text))?,
            "RET" => once(&mut known.ret, Ret::parse(text))?,
            "ENVID" => once(&mut known.envid, decoded(text, MAX_ENVID))?,
            "SMTPUTF8" if value.is_none() => known.smtputf8 = true,
            "REQUIRETLS" if value.is_none() => known.requiretls = true,
            "AUTH" if (1..=MAX_AUTH).contains(&text.len()) => of_mail.auth = true,
            "AUTH" => return Err(reply::BAD_PARAMETER),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    of_mail.size = size.unwrap_or_default();
    of_mail.known.body = body.unwrap_or_default();
    Ok(of_mail)
}

/// Parses the parameters of RCPT: NOTIFY, and ORCPT as its address type, a semicolon, and the decoded address.
pub(super) fn of_rcpt(parameters: &str) -> Result<(Option<Notify>, Option<String>), ServerReply> {
    let (mut notify, mut orcpt) = (None, None);
    each(parameters, |name, value| {
        match name {
            "NOTIFY" => once(&mut notify, Notify::parse(value.unwrap_or_default()))?,
            "ORCPT" => once(&mut orcpt, original(value.unwrap_or_default()))?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((notify, orcpt))
}

/// Passes each parameter to `known`, its name in capitals; one that it does not accept is refused.
fn each(
    parameters: &str,
    mut known: impl FnMut(&str, Option<&str>) -> Result<bool, ServerReply>,
) -> Result<(), ServerReply> {
    if !parameters.is_ascii() {
        return Err(reply::BAD_CHARACTER);
    }
    for word in parameters.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if !known(&name.to_ascii_uppercase(), value)? {
            let is_keyword = word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
            return Err(if is_keyword {
                reply::UNKNOWN_PARAMETER
            } else {
                reply::SYNTAX
            });
        }
    }
    Ok(())
}

/// A parameter may be given once, with a valid value.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), ServerReply> {
    let first = place.replace(value.ok_or(reply::BAD_PARAMETER)?).is_none();
    first.then_some(()).ok_or(reply::BAD_PARAMETER)
}

fn octets(digits: &str) -> Option<u64> {
    let fits = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Twenty digits may exceed 64 bits; no limit is that high.
    fits.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn kind(value: &str) -> Option<BodyKind> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyKind::SevenBit),
        "8BITMIME" => Some(BodyKind::EightBitMime),
        _ => None,
    }
}

/// An address type, which is an atom, a semicolon, and an address in xtext.
fn original(value: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*/?^_`{|}~-.".contains(&byte);
    let (kind, address) = value.split_once(';')?;
    let is_atom = !kind.is_empty() && kind.bytes().all(plain);
    let fits = is_atom && value.len() <= MAX_ORCPT;
    let address = decoded(address, MAX_ORCPT).filter(|_| fits)?;
    Some(format!("{kind};{address}"))
}

/// The text of 1 to `most` octets of xtext, whose hexadecimal digits are capitals.
fn decoded(value: &str, most: usize) -> Option<String> {
    let mut escapes = value.split('+').skip(1);
    let fits = (1..=most).contains(&value.len())
        && !escapes.any(|octet| octet.bytes().take(2).any(|digit| digit.is_ascii_lowercase()));
    xtext::decode(value).filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::{of_mail as mail, of_rcpt as rcpt, *};
    use proptest::prelude::*;

    #[test]
    fn a_size_is_digits_and_never_wraps() {
        for (value, expected) in [
            ("0", Ok(0)),
            ("00000000000000000007", Ok(7)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Ok(u64::MAX)),
            ("99999999999999999999", Ok(u64::MAX)),
            ("999999999999999999999", Err(reply::BAD_PARAMETER)),
            ("+1", Err(reply::BAD_PARAMETER)),
            ("1x", Err(reply::BAD_PARAMETER)),
        ] {
            let size = mail(&format!(" SIZE={value}")).map(|of_mail| of_mail.size);
            assert_eq!(size, expected, "{value}");
        }
    }

    #[test]
    fn a_mailbox_of_auth_has_a_length() {
        let auth = |length| mail(&format!(" AUTH={}", "a".repeat(length))).map(|of_mail| of_mail.auth);
        assert_eq!(auth(256), Ok(true));
        for length in [0, 257] {
            assert_eq!(auth(length), Err(reply::BAD_PARAMETER), "{length}");
        }
    }

    #[test]
    fn the_parameters_of_dsn_are_parsed_beside_others() {
        let of_mail = mail(" SIZE=5 ret=hdrs BODY=7BIT EnvId=a+2Bb+3D+20c").unwrap();
        assert_eq!((of_mail.known.ret, of_mail.size), (Some(Ret::Headers), 5));
        assert_eq!(of_mail.known.envid.as_deref(), Some("a+b= c"));
        let (notify, orcpt) = rcpt(" NOTIFY=delay,SUCCESS ORCPT=rfc822;o+40p").unwrap();
        let expected = Notify {
            success: true,
            failure: false,
            delay: true,
        };
        assert_eq!(notify, Some(expected));
        assert_eq!(orcpt.as_deref(), Some("rfc822;o@p"));
        assert_eq!(rcpt("").unwrap(), (None, None));
        assert_eq!(mail("").unwrap(), OfMail::default());
    }

    #[test]
    fn never_stands_alone() {
        assert_eq!(rcpt(" NOTIFY=NEVER").unwrap().0, Some(Notify::default()));
        for bad in [
            "NEVER,FAILURE",
            "FAILURE,NEVER",
            "",
            "FAILURE,",
            ",DELAY",
            "ALWAYS",
        ] {
            assert_eq!(
                rcpt(&format!(" NOTIFY={bad}")),
                Err(reply::BAD_PARAMETER),
                "{bad}"
            );
        }
    }

    #[test]
    fn values_that_are_too_long_or_no_xtext_are_refused() {
        let long = |length| "x".repeat(length);
        assert!(mail(&format!(" ENVID={}", long(100))).is_ok());
        assert!(rcpt(&format!(" ORCPT=rfc822;{}", long(493))).is_ok());
        for bad in [
            format!("ENVID={}", long(101)),
            "ENVID=".to_owned(),
            "ENVID".to_owned(),
            "ENVID=a=b".to_owned(),
            "ENVID=a+".to_owned(),
            "ENVID=a+4".to_owned(),
            "ENVID=+4a".to_owned(),
            "ENVID=+0D+0A".to_owned(),
            "ENVID=+00".to_owned(),
            "ENVID=+C3+BC".to_owned(),
            "ENVID=a ENVID=b".to_owned(),
            "RET=".to_owned(),
            "RET=BODY".to_owned(),
            "RET=FULL RET=FULL".to_owned(),
        ] {
            assert_eq!(mail(&format!(" {bad}")), Err(reply::BAD_PARAMETER), "{bad}");
        }
        for bad in [
            format!("ORCPT=rfc822;{}", long(494)),
            "ORCPT=o@p".to_owned(),
            "ORCPT=;o@p".to_owned(),
            "ORCPT=rfc822;".to_owned(),
            "ORCPT=rf(c;o@p".to_owned(),
            "ORCPT=rfc822;+0A".to_owned(),
            "ORCPT=a;b ORCPT=a;b".to_owned(),
            "NOTIFY=DELAY NOTIFY=DELAY".to_owned(),
        ] {
            assert_eq!(rcpt(&format!(" {bad}")), Err(reply::BAD_PARAMETER), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_printable_ascii(value in "[ -~]{0,40}|(\\+[0-9A-F]{2}){1,9}") {
            if let Ok(OfMail { known: MailParameters { envid: Some(envid), .. }, .. }) = mail(&format!(" ENVID={value}")) {
                prop_assert!(envid.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            if let Ok((_, Some(orcpt))) = rcpt(&format!(" ORCPT=rfc822;{value}")) {
                prop_assert!(orcpt.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
