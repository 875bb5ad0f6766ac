//! One command line, taken apart and checked. What comes out is safe to keep, to log and to pass on.
//!
//! smtp-proto reads verbs and parameters, and only of a line that the framer found clean. The paths of MAIL and RCPT
//! are read here: smtp-proto takes the quotes off a local part (another mailbox), knows no address literals, and gives
//! `<>` and `<Postmaster>` alike as the empty text. It also skips what follows DATA, RSET and QUIT; we refuse it.

use super::auth::InitialResponse;
use super::dsn::{self, RcptDsn};
use super::extent;
use super::reply::{self, Reply};
use smtp_proto::request::parser::Rfc5321Parser;
use smtp_proto::{Error, MAIL_REQUIRETLS, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};
use spool_core::{Address, BodyKind, MailParameters, ReversePath};
use std::borrow::Cow;

/// A command and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// HELO, or EHLO when `extended`. The name is one word of printable ASCII.
    Hello { name: String, extended: bool },
    /// MAIL. `size` is 0 when not given.
    Mail {
        sender: ReversePath,
        parameters: MailParameters,
        size: u64,
        /// Whether `AUTH=` was given. Nobody is believed who says whose mail it is (RFC 4954 section 5).
        auth: bool,
    },
    /// RCPT; no address is `<Postmaster>` without a domain.
    Rcpt { address: Option<Address>, dsn: RcptDsn },
    /// DATA.
    Data,
    /// BDAT; so many octets follow.
    Bdat { size: u64, last: bool },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH, with the response that came along.
    Auth {
        mechanism: String,
        initial: Option<InitialResponse>,
    },
    /// XCLIENT with its attributes, printable ASCII.
    Xclient(String),
}

impl Command {
    /// Reads `line`, which ends in CRLF and holds no other CR, LF or NUL.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Reply> {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(u8::is_ascii_control) {
            return Err(reply::BAD_CHARACTER);
        }
        let text = std::str::from_utf8(text).map_err(|_| reply::BAD_CHARACTER)?;
        if let Some(rest) = after(text, "MAIL ") {
            return mail(rest);
        }
        if let Some(rest) = after(text, "RCPT ") {
            return rcpt(rest);
        }
        if let Some(rest) = after(text, "BDAT").filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
            return bdat(rest).ok_or(reply::BAD_CHUNK);
        }
        if !text.is_ascii() {
            return Err(reply::BAD_CHARACTER);
        }
        if let Some(rest) = after(text, "AUTH ") {
            return auth(rest);
        }
        if let Some(rest) = after(text, "XCLIENT").filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
            return Ok(Self::Xclient(rest.to_owned()));
        }
        simple(text, line)
    }
}

/// `SIZE [LAST]`. Nothing else is let pass: octets whose number is misread would be taken for commands.
fn bdat(rest: &str) -> Option<Command> {
    let mut words = rest.split_ascii_whitespace();
    let size = words.next()?;
    let size = size.bytes().all(|byte| byte.is_ascii_digit()).then_some(size)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    let size = size.parse().ok()?;
    words.next().is_none().then_some(Command::Bdat { size, last })
}

/// All commands but MAIL, RCPT and BDAT.
fn simple(text: &str, line: &[u8]) -> Result<Command, Reply> {
    let alone = |command| match text.trim_end().len() {
        4 => Ok(command),
        _ => Err(reply::SYNTAX),
    };
    match Request::parse(&mut line.iter()) {
        Ok(Request::Ehlo { host }) => hello(text, &host, true),
        Ok(Request::Helo { host }) => hello(text, &host, false),
        Ok(Request::Data) => alone(Command::Data),
        Ok(Request::Rset) => alone(Command::Rset),
        Ok(Request::Quit) => alone(Command::Quit),
        Ok(Request::StartTls) if text.trim_end().len() > 8 => Err(reply::SYNTAX),
        Ok(Request::StartTls) => Ok(Command::StartTls),
        Ok(Request::Noop { .. }) => Ok(Command::Noop),
        Ok(Request::Vrfy { .. }) => Ok(Command::Vrfy),
        Ok(Request::Help { .. }) => Ok(Command::Help),
        Ok(
            Request::Lhlo { .. }
            | Request::Bdat { .. }
            | Request::Expn { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. },
        ) => Err(reply::NOT_IMPLEMENTED),
        Ok(Request::Mail { .. } | Request::Rcpt { .. } | Request::Auth { .. }) => Err(reply::SYNTAX),
        Err(Error::UnknownCommand) if is_http(text) => Err(reply::NOT_SMTP),
        Err(Error::UnknownCommand) => Err(reply::UNKNOWN),
        Err(
            Error::NeedsMoreData { .. }
            | Error::InvalidSenderAddress
            | Error::InvalidRecipientAddress
            | Error::SyntaxError { .. }
            | Error::InvalidParameter { .. }
            | Error::UnsupportedParameter { .. }
            | Error::ResponseTooLong
            | Error::InvalidResponse { .. },
        ) => Err(reply::SYNTAX),
    }
}

fn hello(text: &str, host: &str, extended: bool) -> Result<Command, Reply> {
    let whole = text.get(5..).is_some_and(|rest| rest.trim_end() == host);
    let command = Command::Hello {
        name: host.to_owned(),
        extended,
    };
    whole.then_some(command).ok_or(reply::SYNTAX)
}

/// A browser made to send its request to this port must not get to speak SMTP in its body.
fn is_http(text: &str) -> bool {
    ["GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "CONNECT "]
        .iter()
        .any(|verb| after(text, verb).is_some())
}

fn auth(rest: &str) -> Result<Command, Reply> {
    let mut words = rest.trim_end().split(' ');
    let (mechanism, initial) = (words.next().unwrap_or_default(), words.next());
    if mechanism.is_empty() || initial == Some("") || words.next().is_some() {
        return Err(reply::SYNTAX);
    }
    Ok(Command::Auth {
        mechanism: mechanism.to_owned(),
        initial: initial.map(InitialResponse::new),
    })
}

fn mail(rest: &str) -> Result<Command, Reply> {
    let (path, parameters) = path(rest, "FROM:")?;
    let sender = ReversePath::parse(without_route(path)).map_err(|_| reply::BAD_SENDER)?;
    let (dsn, rest) = dsn::of_mail(ascii(parameters)?)?;
    let (extent, mut rest) = extent::of_mail(&rest)?;
    let given = if rest.is_empty() {
        MailFrom::default()
    } else {
        rest.push_str("\r\n");
        Rfc5321Parser::new(&mut rest.as_bytes().iter())
            .mail_from_parameters(Cow::Borrowed(""))
            .map_err(refusal)?
    };
    let auth = given.auth.is_some();
    let known = MailFrom {
        flags: given.flags & (MAIL_SMTPUTF8 | MAIL_REQUIRETLS),
        auth: given.auth.clone(),
        ..MailFrom::default()
    };
    if given != known {
        return Err(reply::UNKNOWN_PARAMETER);
    }
    let smtputf8 = known.flags & MAIL_SMTPUTF8 != 0;
    if !smtputf8 && !sender.as_str().is_ascii() {
        return Err(reply::NEEDS_SMTPUTF8);
    }
    Ok(Command::Mail {
        sender,
        parameters: MailParameters {
            body: extent.body.unwrap_or(BodyKind::SevenBit),
            smtputf8,
            requiretls: known.flags & MAIL_REQUIRETLS != 0,
            ret: dsn.ret,
            envid: dsn.envid,
        },
        size: extent.size.unwrap_or(0),
        auth,
    })
}

fn rcpt(rest: &str) -> Result<Command, Reply> {
    let (path, parameters) = path(rest, "TO:")?;
    let mailbox = without_route(path);
    let address = if mailbox.eq_ignore_ascii_case("postmaster") {
        None
    } else {
        Some(Address::parse(mailbox).map_err(|_| reply::BAD_RECIPIENT)?)
    };
    let (dsn, mut rest) = dsn::of_rcpt(ascii(parameters)?)?;
    if !rest.is_empty() {
        rest.push_str("\r\n");
        let given = Rfc5321Parser::new(&mut rest.as_bytes().iter())
            .rcpt_to_parameters(Cow::Borrowed(""))
            .map_err(refusal)?;
        if given != RcptTo::default() {
            return Err(reply::UNKNOWN_PARAMETER);
        }
    }
    Ok(Command::Rcpt { address, dsn })
}

fn refusal(error: Error) -> Reply {
    match error {
        Error::UnsupportedParameter { .. } => reply::UNKNOWN_PARAMETER,
        Error::InvalidParameter { .. } => reply::BAD_PARAMETER,
        Error::NeedsMoreData { .. }
        | Error::UnknownCommand
        | Error::InvalidSenderAddress
        | Error::InvalidRecipientAddress
        | Error::SyntaxError { .. }
        | Error::ResponseTooLong
        | Error::InvalidResponse { .. } => reply::SYNTAX,
    }
}

/// Splits `FROM:<path> parameters`. Spaces before `<` are let pass: many programs write them, and they hide nothing.
fn path<'a>(text: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Reply> {
    let inside = after(text.trim_start(), keyword)
        .and_then(|rest| rest.trim_start().strip_prefix('<'))
        .ok_or(reply::SYNTAX)?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let (path, rest) = inside.split_at_checked(at).ok_or(reply::SYNTAX)?;
                let rest = rest.strip_prefix('>').unwrap_or(rest);
                let parted = rest.is_empty() || rest.starts_with(' ');
                return parted.then_some((path, rest)).ok_or(reply::SYNTAX);
            }
            _ => {}
        }
    }
    Err(reply::SYNTAX)
}

/// Parameters must be ASCII, which smtp-proto does not check.
fn ascii(parameters: &str) -> Result<&str, Reply> {
    parameters
        .is_ascii()
        .then_some(parameters)
        .ok_or(reply::BAD_CHARACTER)
}

/// Strips a source route `@a,@b:` (RFC 5321 appendix C): only the mailbox behind it counts.
fn without_route(path: &str) -> &str {
    match path.split_once(':') {
        Some((_, mailbox)) if path.starts_with('@') => mailbox,
        Some(_) | None => path,
    }
}

/// What follows `prefix`, which is ASCII and compared without regard to case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Command, Reply> {
        Command::parse(format!("{text}\r\n").as_bytes())
    }

    fn recipient(text: &str) -> Option<String> {
        match parse(text) {
            Ok(Command::Rcpt {
                address: Some(address),
                ..
            }) => Some(address.to_string()),
            _ => None,
        }
    }

    #[test]
    fn paths_are_read_whole() {
        for (path, expected) in [
            ("<a@b.org>", "a@b.org"),
            (" <a@b.org>", "a@b.org"),
            ("<\"a b\"@c.org>", "\"a b\"@c.org"),
            ("<\"a>b\\\"c\"@d.org>", "\"a>b\\\"c\"@d.org"),
            ("<@x.org,@y.org:a@z.org>", "a@z.org"),
            ("<x@[192.0.2.1]>", "x@[192.0.2.1]"),
            ("<x@[IPv6:2001:db8::1]>", "x@[IPv6:2001:db8::1]"),
            ("<user%evil.org@z.org>", "user%evil.org@z.org"),
            ("<ü@ö.org>", "ü@ö.org"),
        ] {
            assert_eq!(
                recipient(&format!("rcpt to:{path}")).as_deref(),
                Some(expected),
                "{path}"
            );
        }
        let postmaster = Command::Rcpt {
            address: None,
            dsn: RcptDsn::default(),
        };
        assert_eq!(parse("RCPT TO:<Postmaster>"), Ok(postmaster));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (line, expected) in [
            ("RCPT TO:<>", reply::BAD_RECIPIENT),
            ("RCPT TO:<a>", reply::BAD_RECIPIENT),
            ("RCPT TO:<a@b\u{202e}c>", reply::BAD_RECIPIENT),
            ("RCPT TO:< a@b>", reply::BAD_RECIPIENT),
            ("MAIL FROM:<a@>", reply::BAD_SENDER),
            ("MAIL FROM:<ü@b.org>", reply::NEEDS_SMTPUTF8),
            ("MAIL FROM:<a@b.org> SIZE=\u{fc}", reply::BAD_CHARACTER),
            ("RCPT TO:a@b.org", reply::SYNTAX),
            ("RCPT TO:<a@b.org", reply::SYNTAX),
            ("RCPT TO:<a@b.org>x", reply::SYNTAX),
            ("RCPT TO:<\"a@b.org>", reply::SYNTAX),
            ("RCPT <a@b.org>", reply::SYNTAX),
            ("MAIL", reply::SYNTAX),
            (" MAIL FROM:<a@b.org>", reply::SYNTAX),
            ("MAIL FROM:<a\tb@c>", reply::BAD_CHARACTER),
        ] {
            assert_eq!(parse(line), Err(expected), "{line}");
        }
    }

    #[test]
    fn parameters_are_honoured_or_refused() {
        let Ok(Command::Mail {
            sender,
            parameters,
            size,
            auth: false,
        }) = parse("Mail From:<> size=77 BODY=8bitmime SMTPUTF8")
        else {
            panic!("refused");
        };
        assert!(sender.is_null() && parameters.smtputf8 && size == 77);
        assert_eq!(parameters.body, BodyKind::EightBitMime);
        for (parameter, expected) in [
            ("SIZE=x", reply::BAD_PARAMETER),
            ("SIZE=-1", reply::BAD_PARAMETER),
            ("SIZE=", reply::BAD_PARAMETER),
            ("SIZE=99999999999999999999999", reply::BAD_PARAMETER),
            ("SIZE=1 SIZE=2", reply::BAD_PARAMETER),
            ("BODY=8BITMIME BODY=7BIT", reply::BAD_PARAMETER),
            ("BODY=9BIT", reply::BAD_PARAMETER),
            ("BODY=BINARYMIME", reply::BODY_NOT_IMPLEMENTED),
            ("RET=BODY", reply::BAD_PARAMETER),
            ("ENVID==", reply::BAD_PARAMETER),
            ("NOTIFY=NEVER", reply::UNKNOWN_PARAMETER),
            ("HOLDFOR=60", reply::UNKNOWN_PARAMETER),
            ("X-WHATEVER=1", reply::UNKNOWN_PARAMETER),
            ("!", reply::SYNTAX),
        ] {
            assert_eq!(
                parse(&format!("MAIL FROM:<a@b.org> {parameter}")),
                Err(expected),
                "{parameter}"
            );
        }
        for parameter in ["AUTH=<>", "AUTH=ada+40example.org"] {
            let mail = parse(&format!("MAIL FROM:<a@b.org> {parameter}"));
            assert!(matches!(mail, Ok(Command::Mail { auth: true, .. })), "{mail:?}");
        }
        for (parameter, expected) in [
            ("NOTIFY=NEVER,DELAY", reply::BAD_PARAMETER),
            ("ORCPT=a@b.org", reply::BAD_PARAMETER),
            ("RET=FULL", reply::UNKNOWN_PARAMETER),
            ("X=1", reply::UNKNOWN_PARAMETER),
        ] {
            let refused = parse(&format!("RCPT TO:<a@b.org> {parameter}"));
            assert_eq!(refused, Err(expected), "{parameter}");
        }
    }

    #[test]
    fn verbs_are_known_or_refused() {
        for (line, expected) in [
            ("quit", Ok(Command::Quit)),
            ("DATA ", Ok(Command::Data)),
            ("NOOP x y", Ok(Command::Noop)),
            ("NOOP", Ok(Command::Noop)),
            ("VRFY a", Ok(Command::Vrfy)),
            ("HELP", Ok(Command::Help)),
            ("DATA x", Err(reply::SYNTAX)),
            ("VRFY", Err(reply::SYNTAX)),
            ("EHLO", Err(reply::SYNTAX)),
            ("EHLO a b", Err(reply::SYNTAX)),
            ("EHLO bücher", Err(reply::BAD_CHARACTER)),
            ("starttls", Ok(Command::StartTls)),
            ("STARTTLS ", Ok(Command::StartTls)),
            ("STARTTLS now", Err(reply::SYNTAX)),
            ("AUTH", Err(reply::SYNTAX)),
            ("AUTH ", Err(reply::SYNTAX)),
            ("AUTH  PLAIN", Err(reply::SYNTAX)),
            ("AUTH PLAIN AAAA =", Err(reply::SYNTAX)),
            (
                "auth plain",
                Ok(Command::Auth {
                    mechanism: "plain".into(),
                    initial: None,
                }),
            ),
            (
                "AUTH PLAIN =",
                Ok(Command::Auth {
                    mechanism: "PLAIN".into(),
                    initial: Some(InitialResponse::new("=")),
                }),
            ),
            ("BDAT 5 last", Ok(Command::Bdat { size: 5, last: true })),
            ("bdat 0", Ok(Command::Bdat { size: 0, last: false })),
            (
                "BDAT 18446744073709551615",
                Ok(Command::Bdat {
                    size: u64::MAX,
                    last: false,
                }),
            ),
            ("BDAT 18446744073709551616", Err(reply::BAD_CHUNK)),
            ("BDAT", Err(reply::BAD_CHUNK)),
            ("BDAT x", Err(reply::BAD_CHUNK)),
            ("BDAT -1", Err(reply::BAD_CHUNK)),
            ("BDAT +1", Err(reply::BAD_CHUNK)),
            ("BDAT 5LAST", Err(reply::BAD_CHUNK)),
            ("BDAT 5 LAST x", Err(reply::BAD_CHUNK)),
            ("BDAT 5 FIRST", Err(reply::BAD_CHUNK)),
            ("BDATA", Err(reply::UNKNOWN)),
            ("xclient A=b", Ok(Command::Xclient(" A=b".to_owned()))),
            ("XCLIENTS", Err(reply::UNKNOWN)),
            ("EXPN x", Err(reply::NOT_IMPLEMENTED)),
            ("", Err(reply::UNKNOWN)),
            ("FROB", Err(reply::UNKNOWN)),
            ("DATABASE", Err(reply::UNKNOWN)),
            ("POST / HTTP/1.1", Err(reply::NOT_SMTP)),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(verb in "(MAIL FROM:<a@b>|RCPT TO:<a@b>|EHLO|VRFY|NOOP|AUTH|ETRN|BURL|BDAT|ATRN)",
                          name in "( |=|)(SIZE|BODY|ENVID|BY|RRVS|ORCPT|MTRK|HOLDUNTIL|MT-PRIORITY|TRANSID|AUTH|NOTIFY|)=?",
                          rest in "[ -~é]{0,40}|[0-9+;:TZ<>=-]{0,40}") {
            let _ = parse(&format!("{verb}{name}{rest}"));
        }

        #[test]
        fn arbitrary_clean_lines_do_not_panic(mut line in proptest::collection::vec(1_u8.., 0..80)) {
            line.retain(|byte| !matches!(byte, b'\r' | b'\n'));
            line.extend_from_slice(b"\r\n");
            let _ = Command::parse(&line);
        }
    }
}
