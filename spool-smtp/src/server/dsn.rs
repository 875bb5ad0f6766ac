//! Parses and checks the parameters of the DSN extension (RFC 3461 section 4) of MAIL and RCPT.
//!
//! smtp-proto accepts invalid xtext and knows only one address type, so these four are parsed here and all others by it.
//! The values are decoded and printable ASCII: they can be logged, stored, and encoded again.

use super::reply::{self, ServerReply};
use spool_core::{Notify, Ret};

/// The longest ENVID, as it is given (RFC 3461 section 4.4).
const MAX_ENVID: usize = 100;
/// The longest ORCPT, as it is given (RFC 3461 section 4.2).
const MAX_ORCPT: usize = 500;

/// The parameters of MAIL about notices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MailDsn {
    pub(super) ret: Option<Ret>,
    /// Decoded.
    pub(super) envid: Option<String>,
}

/// The parameters of RCPT about notices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RcptDsn {
    pub(super) notify: Option<Notify>,
    /// The address type, a semicolon, and the decoded address.
    pub(super) orcpt: Option<String>,
}

impl RcptDsn {
    /// Whether RCPT had no parameter about notices.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Parses RET and ENVID; returns the other parameters of MAIL.
pub(super) fn of_mail(parameters: &str) -> Result<(MailDsn, String), ServerReply> {
    let mut dsn = MailDsn::default();
    let rest = take(parameters, |name, value| match name {
        "RET" => once(&mut dsn.ret, ret(value)?),
        "ENVID" => once(&mut dsn.envid, envid(value)?),
        _ => Ok(false),
    })?;
    Ok((dsn, rest))
}

/// Parses NOTIFY and ORCPT; returns the other parameters of RCPT.
pub(super) fn of_rcpt(parameters: &str) -> Result<(RcptDsn, String), ServerReply> {
    let mut dsn = RcptDsn::default();
    let rest = take(parameters, |name, value| match name {
        "NOTIFY" => once(&mut dsn.notify, notify(value)?),
        "ORCPT" => once(&mut dsn.orcpt, orcpt(value)?),
        _ => Ok(false),
    })?;
    Ok((dsn, rest))
}

/// Passes each parameter, its name in capitals, to `known`; returns those that it did not accept.
pub(super) fn take(
    parameters: &str,
    mut known: impl FnMut(&str, &str) -> Result<bool, ServerReply>,
) -> Result<String, ServerReply> {
    let mut rest = String::new();
    for word in parameters.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if !known(&name.to_ascii_uppercase(), value)? {
            rest.push(' ');
            rest.push_str(word);
        }
    }
    Ok(rest)
}

/// A parameter may be given once.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<bool, ServerReply> {
    match place.replace(value) {
        None => Ok(true),
        Some(_) => Err(reply::BAD_PARAMETER),
    }
}

fn ret(value: &str) -> Result<Ret, ServerReply> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Ret::Full),
        "HDRS" => Ok(Ret::Headers),
        _ => Err(reply::BAD_PARAMETER),
    }
}

fn envid(value: &str) -> Result<String, ServerReply> {
    let fits = (1..=MAX_ENVID).contains(&value.len());
    xtext(value).filter(|_| fits).ok_or(reply::BAD_PARAMETER)
}

/// NEVER alone, or a list of the other three.
fn notify(value: &str) -> Result<Notify, ServerReply> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return Err(reply::BAD_PARAMETER),
        }
    }
    Ok(notify)
}

/// An address type, which is an atom, a semicolon, and an address in xtext.
fn orcpt(value: &str) -> Result<String, ServerReply> {
    let is_atom = |kind: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*/?^_`{|}~-.".contains(&byte);
        !kind.is_empty() && kind.bytes().all(plain)
    };
    let (kind, address) = value.split_once(';').ok_or(reply::BAD_PARAMETER)?;
    let fits = value.len() <= MAX_ORCPT && !address.is_empty() && is_atom(kind);
    let address = xtext(address).filter(|_| fits).ok_or(reply::BAD_PARAMETER)?;
    Ok(format!("{kind};{address}"))
}

/// Decodes xtext (RFC 3461 section 4): `+` and two hexadecimal digits in capitals stand for an octet. `None` when the text is not xtext,
/// or contains anything but printable ASCII.
fn xtext(value: &str) -> Option<String> {
    let mut decoded = String::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            b'=' | ..=b' ' | 0x7f.. => return None,
            _ => byte,
        };
        decoded.push((b' '..=b'~').contains(&byte).then_some(char::from(byte))?);
    }
    Some(decoded)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mail(parameters: &str) -> Result<MailDsn, ServerReply> {
        of_mail(parameters).map(|(dsn, _)| dsn)
    }

    fn rcpt(parameters: &str) -> Result<RcptDsn, ServerReply> {
        of_rcpt(parameters).map(|(dsn, _)| dsn)
    }

    #[test]
    fn the_four_parameters_are_parsed_and_others_left() {
        let (dsn, rest) = of_mail(" SIZE=5 ret=hdrs BODY=7BIT EnvId=a+2Bb+3D+20c").unwrap();
        assert_eq!(dsn.ret, Some(Ret::Headers));
        assert_eq!(dsn.envid.as_deref(), Some("a+b= c"));
        assert_eq!(rest, " SIZE=5 BODY=7BIT");
        let (dsn, rest) = of_rcpt(" NOTIFY=delay,SUCCESS ORCPT=rfc822;o+40p X=1").unwrap();
        let expected = Notify {
            success: true,
            failure: false,
            delay: true,
        };
        assert_eq!(dsn.notify, Some(expected));
        assert_eq!(dsn.orcpt.as_deref(), Some("rfc822;o@p"));
        assert_eq!(rest, " X=1");
        assert!(rcpt("").unwrap().is_empty() && mail("").unwrap() == MailDsn::default());
    }

    #[test]
    fn never_stands_alone() {
        assert_eq!(rcpt(" NOTIFY=NEVER").unwrap().notify, Some(Notify::default()));
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
            if let Ok(MailDsn { envid: Some(envid), .. }) = mail(&format!(" ENVID={value}")) {
                prop_assert!(envid.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            if let Ok(RcptDsn { orcpt: Some(orcpt), .. }) = rcpt(&format!(" ORCPT=rfc822;{value}")) {
                prop_assert!(orcpt.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
