//! Parses and checks one command line. The result is safe to store, to log and to pass on.
//!
//! smtp-proto parses verbs and parameters of lines that the framer accepted. The paths of MAIL and RCPT are parsed here, because
//! smtp-proto removes the quotes of a local part (which names another mailbox), knows no address literals, and returns an empty text for
//! both `<>` and `<Postmaster>`. It also ignores text after DATA, RSET and QUIT, which is refused here.

use super::auth::InitialResponse;
use super::dsn::{self, RcptDsn};
use super::extent;
use super::reply::{self, ServerReply};
use smtp_proto::request::parser::Rfc5321Parser;
use smtp_proto::{Error, MAIL_REQUIRETLS, MAIL_SMTPUTF8, MailFrom, RcptTo, Request};
use spool_core::{Address, BodyKind, MailParameters, ReversePath};
use std::borrow::Cow;

/// A command and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// HELO or EHLO.
    Hello(Hello),
    /// MAIL. `size` is 0 when not given.
    Mail {
        sender: ReversePath,
        parameters: MailParameters,
        size: u64,
        /// Whether `AUTH=` was given. Its value is ignored (RFC 4954 section 5).
        auth: bool,
    },
    /// RCPT; no address is `<Postmaster>` without a domain.
    Rcpt { address: Option<Address>, dsn: RcptDsn },
    /// DATA.
    Data,
    /// BDAT; `size` octets follow.
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
    /// AUTH, with the initial response.
    Auth {
        mechanism: String,
        initial: Option<InitialResponse>,
    },
    /// XCLIENT with its attributes, printable ASCII.
    Xclient(String),
}

/// The client's HELO or EHLO.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// One word of printable ASCII.
    pub(super) name: String,
    /// Whether it was EHLO.
    pub(super) extended: bool,
}

impl Command {
    /// Parses `line`, which ends with CRLF and contains no other CR, LF or NUL.
    pub(super) fn parse(line: &[u8]) -> Result<Self, ServerReply> {
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

/// `SIZE [LAST]`. Nothing else is accepted: octets after a misread size would be executed as commands.
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
fn simple(text: &str, line: &[u8]) -> Result<Command, ServerReply> {
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

fn hello(text: &str, host: &str, extended: bool) -> Result<Command, ServerReply> {
    let whole = text.get(5..).is_some_and(|rest| rest.trim_end() == host);
    let command = Command::Hello(Hello {
        name: host.to_owned(),
        extended,
    });
    whole.then_some(command).ok_or(reply::SYNTAX)
}

/// The body of an HTTP request that a browser sends to this port must not be executed as SMTP.
fn is_http(text: &str) -> bool {
    ["GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "CONNECT "]
        .iter()
        .any(|verb| after(text, verb).is_some())
}

fn auth(rest: &str) -> Result<Command, ServerReply> {
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

fn mail(rest: &str) -> Result<Command, ServerReply> {
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

fn rcpt(rest: &str) -> Result<Command, ServerReply> {
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

fn refusal(error: Error) -> ServerReply {
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

/// Splits `FROM:<path> parameters`. Spaces before `<` are accepted, because many programs send them and they are harmless.
fn path<'a>(text: &'a str, keyword: &str) -> Result<(&'a str, &'a str), ServerReply> {
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
fn ascii(parameters: &str) -> Result<&str, ServerReply> {
    parameters
        .is_ascii()
        .then_some(parameters)
        .ok_or(reply::BAD_CHARACTER)
}

/// Strips a source route `@a,@b:` (RFC 5321 appendix C): only the mailbox after it counts.
fn without_route(path: &str) -> &str {
    match path.split_once(':') {
        Some((_, mailbox)) if path.starts_with('@') => mailbox,
        Some(_) | None => path,
    }
}

/// The text after `prefix`, which is ASCII and compared in any case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
