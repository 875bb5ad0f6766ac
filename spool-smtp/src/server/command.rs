//! Parses and checks one command line. The result is safe to store, to log and to pass on.

use super::auth::InitialResponse;
use super::parameters::{self, OfMail};
use super::reply::{self, ServerReply};
use crate::hidden::Hidden;
use spool_core::{Address, Notify, ReversePath};
use zeroize::Zeroizing;

/// The longest name in EHLO and HELO.
const MAX_NAME: usize = 255;

/// A command and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// HELO or EHLO.
    Hello(Hello),
    /// MAIL, with its parameters.
    Mail(ReversePath, OfMail),
    /// RCPT; no address is `<Postmaster>` without a domain.
    Rcpt {
        address: Option<Address>,
        notify: Option<Notify>,
        /// The address type, a semicolon, and the decoded address.
        orcpt: Option<String>,
    },
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
        let (verb, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        match verb.to_ascii_uppercase().as_str() {
            "MAIL" => mail(rest),
            "RCPT" => rcpt(rest),
            "BDAT" => bdat(rest).ok_or(reply::BAD_CHUNK),
            _ if !text.is_ascii() => Err(reply::BAD_CHARACTER),
            "AUTH" => auth(rest),
            "XCLIENT" => Ok(Self::Xclient(rest.to_owned())),
            verb => simple(verb, rest),
        }
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

/// All other commands: the verb in capitals, and the text behind it.
fn simple(verb: &str, rest: &str) -> Result<Command, ServerReply> {
    let argument = rest.strip_prefix(' ').unwrap_or_default().trim_end();
    let hello = |extended| {
        let is_word = (1..=MAX_NAME).contains(&argument.len()) && !argument.contains(' ');
        let name = argument.to_owned();
        let command = Command::Hello(Hello { name, extended });
        is_word.then_some(command).ok_or(reply::SYNTAX)
    };
    let alone = |command| argument.is_empty().then_some(command).ok_or(reply::SYNTAX);
    match verb {
        "EHLO" => hello(true),
        "HELO" => hello(false),
        "DATA" => alone(Command::Data),
        "RSET" => alone(Command::Rset),
        "QUIT" => alone(Command::Quit),
        "STARTTLS" => alone(Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if !argument.is_empty() => Ok(Command::Vrfy),
        "VRFY" => Err(reply::SYNTAX),
        // The line begins with a space.
        "" if !argument.is_empty() => Err(reply::SYNTAX),
        "LHLO" | "EXPN" | "ETRN" | "ATRN" | "BURL" => Err(reply::NOT_IMPLEMENTED),
        // The body of an HTTP request that a browser sends to this port must not be executed as SMTP.
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" if !rest.is_empty() => Err(reply::NOT_SMTP),
        _ => Err(reply::UNKNOWN),
    }
}

fn auth(rest: &str) -> Result<Command, ServerReply> {
    let mut words = rest.trim_end().split(' ').skip(1);
    let (mechanism, initial) = (words.next().unwrap_or_default(), words.next());
    if mechanism.is_empty() || initial == Some("") || words.next().is_some() {
        return Err(reply::SYNTAX);
    }
    Ok(Command::Auth {
        mechanism: mechanism.to_owned(),
        initial: initial.map(|text| Hidden(Zeroizing::new(text.to_owned()))),
    })
}

fn mail(rest: &str) -> Result<Command, ServerReply> {
    let (path, given) = path(rest, "FROM:")?;
    let sender = ReversePath::parse(without_route(path)).map_err(|_| reply::BAD_SENDER)?;
    let given = parameters::of_mail(given)?;
    if !given.known.smtputf8 && !sender.as_str().is_ascii() {
        return Err(reply::NEEDS_SMTPUTF8);
    }
    Ok(Command::Mail(sender, given))
}

fn rcpt(rest: &str) -> Result<Command, ServerReply> {
    let (path, given) = path(rest, "TO:")?;
    let mailbox = without_route(path);
    let address = if mailbox.eq_ignore_ascii_case("postmaster") {
        None
    } else {
        Some(Address::parse(mailbox).map_err(|_| reply::BAD_RECIPIENT)?)
    };
    let (notify, orcpt) = parameters::of_rcpt(given)?;
    Ok(Command::Rcpt {
        address,
        notify,
        orcpt,
    })
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
