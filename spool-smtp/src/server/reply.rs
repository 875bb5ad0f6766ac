//! Every reply of the ingress. The texts are fixed: they never contain text from a peer or from the disk.
//!
//! `docs/smtp-ingress.md` lists them all; a test compares the two.

use spool_core::AddError;
use std::borrow::Cow;
use std::time::Duration;

/// A reply with a fixed text, except for the time in "try again in".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerReply {
    /// One line without CRLF.
    pub(super) line: &'static str,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
    /// After how many seconds the client may try again; the number follows the line. 0: not stated.
    wait: u64,
}

impl ServerReply {
    /// The complete line.
    pub(super) fn text(self) -> Cow<'static, str> {
        match self.wait {
            0 => self.line.into(),
            wait => format!("{} {wait} s", self.line).into(),
        }
    }

    /// The same with the time after which the client may try again, in whole seconds and at least one.
    pub(super) fn until(mut self, wait: Duration) -> Self {
        self.wait = wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0))
            .max(1);
        self
    }

    /// The same, after which the connection is closed.
    pub(super) const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Whether the client did something wrong, which counts towards the limit of errors.
    pub(super) fn is_error(self) -> bool {
        self.line.starts_with('5')
    }

    /// Whether the command was refused: 4xx or 5xx.
    pub(super) fn is_refusal(self) -> bool {
        self.line.starts_with(['4', '5'])
    }

    /// The reply when the intake does not accept a message.
    pub(super) fn from_intake(error: &AddError) -> Self {
        match error {
            AddError::Busy => BUSY,
            AddError::Full(_) => FULL,
            AddError::Invalid(_) | AddError::KeyReused { .. } => INVALID,
            AddError::TooManyRecipients { .. } => TOO_MANY_RECIPIENTS,
            AddError::Unsigned(_) => UNSIGNED,
            AddError::Killed => SHUTTING_DOWN,
            // An unknown error may be temporary.
            AddError::Disk(_) | _ => DISK,
        }
    }
}

macro_rules! replies {
    ($($name:ident: $line:literal $($closes:ident)?;)*) => {
        $(pub(super) const $name: ServerReply = ServerReply { line: $line, closes: replies!(@ $($closes)?), wait: 0 };)*
        #[cfg(test)]
        pub(super) const ALL: &[ServerReply] = &[$($name),*];
    };
    (@) => { false };
    (@ close) => { true };
}

replies! {
    HELP: "214 2.0.0 Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
    START_TLS: "220 2.0.0 Ready to start TLS";
    BYE: "221 2.0.0 Bye" close;
    AUTHENTICATED: "235 2.7.0 Authentication successful";
    OK: "250 2.0.0 Ok";
    CHUNK_OK: "250 2.0.0 Chunk received";
    SENDER_OK: "250 2.1.0 Sender ok";
    RECIPIENT_OK: "250 2.1.5 Recipient ok";
    CANNOT_VERIFY: "252 2.5.0 Cannot verify, send it and see";
    GO_AHEAD: "354 End data with <CR><LF>.<CR><LF>";
    TOO_MANY_CONNECTIONS: "421 4.7.0 Too many connections, try again later" close;
    TOO_MANY_ERRORS: "421 4.7.0 Too many errors, closing connection" close;
    TIMEOUT: "421 4.4.2 Timeout, closing connection" close;
    SHUTTING_DOWN: "421 4.3.2 Service is shutting down, try again later" close;
    LOGIN_GONE: "421 4.7.0 Login is no longer valid, closing connection" close;
    TOO_MANY_CONNECTIONS_LATELY: "421 4.7.0 Too many new connections, try again in" close;
    TOO_MANY_FAILED_LOGINS: "450 4.7.1 Too many failed logins, try again in";
    TOO_MANY_MESSAGES_LATELY: "450 4.7.1 Too many messages, try again in";
    TOO_MANY_RECIPIENTS_LATELY: "450 4.7.1 Too many recipients, try again in";
    DISK: "451 4.3.0 Cannot store mail now, try again later";
    BUSY: "451 4.3.2 Busy, try again soon";
    UNSIGNED: "451 4.7.5 Cannot sign mail now, try again later";
    FULL: "452 4.3.1 No room for mail now, try again later";
    NO_MEMORY: "452 4.3.1 No memory for more recipients now, send the rest in another transaction";
    NO_MEMORY_FOR_TLS: "454 4.7.0 No memory for TLS now, try again soon";
    TOO_MANY_RECIPIENTS: "452 4.5.3 Too many recipients, send the rest in another transaction";
    STARTTLS_NOT_LAST: "554 5.5.1 More was sent behind STARTTLS in plaintext; closing connection" close;
    AUTH_BUSY: "454 4.7.0 Cannot check logins now, try again later";
    UNCLEAN: "500 5.5.2 Lines end by CRLF, and bare CR, bare LF and NUL are refused; closing connection" close;
    NOT_SMTP: "500 5.5.2 This is SMTP, closing connection" close;
    TOO_LONG: "500 5.5.2 Line too long";
    RESPONSE_TOO_LONG: "500 5.5.6 Authentication response too long";
    BAD_CHARACTER: "500 5.5.2 Forbidden character";
    UNKNOWN: "500 5.5.2 Unknown command";
    BAD_CHUNK: "501 5.5.4 BDAT takes a size and LAST; closing connection" close;
    SYNTAX: "501 5.5.4 Syntax error in arguments";
    BAD_PARAMETER: "501 5.5.4 Bad value of a parameter";
    BAD_SENDER: "501 5.1.7 Not an address";
    BAD_RECIPIENT: "501 5.1.3 Not an address";
    AUTH_CANCELLED: "501 5.7.0 Authentication cancelled";
    BAD_BASE64: "501 5.5.2 Response is not base64";
    BAD_RESPONSE: "501 5.5.2 Response does not fit the mechanism";
    BAD_USER_NAME: "501 5.5.2 User names are of printable ASCII characters, without spaces and colons";
    NOT_IMPLEMENTED: "502 5.5.1 Not implemented";
    HELLO_FIRST: "503 5.5.1 Say EHLO or HELO first";
    ALREADY_UNDER_TLS: "503 5.5.1 TLS is in use already";
    EHLO_FIRST: "503 5.5.1 Say EHLO first";
    LOGGED_IN: "503 5.5.1 Authenticated already";
    AUTH_IN_TRANSACTION: "503 5.5.1 AUTH cannot be used within a transaction";
    MAIL_FIRST: "503 5.5.1 Say MAIL first";
    IN_CHUNKS: "503 5.5.1 The message has begun with BDAT";
    NESTED_MAIL: "503 5.5.1 MAIL was said already";
    BODY_NOT_IMPLEMENTED: "504 5.5.4 BODY takes 7BIT or 8BITMIME";
    UNKNOWN_MECHANISM: "504 5.5.4 Authentication mechanism not supported";
    BAD_CREDENTIALS: "535 5.7.8 Wrong user name or password";
    AUTH_NEEDS_TLS: "538 5.7.11 AUTH is possible under TLS only";
    XCLIENT_DENIED: "550 5.7.0 XCLIENT is not for you";
    RELAYING_DENIED: "550 5.7.1 Relaying denied";
    TOO_BIG: "552 5.3.4 Message too big";
    FAR_TOO_BIG: "552 5.3.4 Message far too big, closing connection" close;
    SENDER_NOT_ALLOWED: "553 5.7.1 This user may not send from this address";
    NEEDS_SMTPUTF8: "553 5.6.7 Address needs SMTPUTF8";
    NO_RECIPIENTS: "554 5.5.1 No valid recipients";
    INVALID: "554 5.6.0 Message refused";
    SMUGGLING: "554 5.6.0 Message holds bare CR, bare LF or NUL; closing connection" close;
    MAIL_LOOP: "554 5.4.6 Mail loop: too many Received headers";
    UNKNOWN_PARAMETER: "555 5.5.4 Parameter not supported";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_is_well_formed_and_documented() {
        let page = include_str!("../../../docs/smtp-ingress.md");
        for reply in ALL {
            let line = reply.line;
            assert!(
                line.is_ascii() && line.len() < 510 && !line.contains(['\r', '\n']),
                "{line}"
            );
            let mut words = line.split(' ');
            let code = words.next().unwrap();
            assert!(code.len() == 3 && code.parse::<u16>().is_ok(), "{line}");
            if code != "354" {
                let enhanced = words.next().unwrap();
                assert_eq!(enhanced.split('.').count(), 3, "{line}");
                assert_eq!(enhanced.as_bytes()[0], code.as_bytes()[0], "{line}");
            }
            assert!(
                page.contains(&format!("`{line}`")),
                "{line} is not in docs/smtp-ingress.md"
            );
        }
    }
}
