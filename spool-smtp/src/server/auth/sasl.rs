//! The exchanges of AUTH PLAIN (RFC 4616) and AUTH LOGIN as machines: a response of the client in, a challenge or an
//! attempt to log in out. They decide nothing about passwords.
//!
//! Responses and passwords are shown in no Debug output, and are overwritten when they are dropped.

use super::password::MAX_PASSWORD;
use super::users::check_user_name;
use crate::hidden::Hidden;
use crate::server::reply::{self, ServerReply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A name and a password to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct LoginAttempt {
    /// Some type their password there.
    pub(super) name: Hidden<String>,
    pub(super) password: Hidden<Zeroizing<Vec<u8>>>,
}

#[cfg(test)]
impl LoginAttempt {
    /// For tests: as if a client had sent it.
    pub(in crate::server) fn of_test(name: &str, password: &str) -> Self {
        Self {
            name: Hidden(name.into()),
            password: Hidden(Zeroizing::new(password.into())),
        }
    }

    /// For tests: whether it is this name with this password.
    pub(in crate::server) fn is_of_test(&self, name: &str, password: &str) -> bool {
        *self == Self::of_test(name, password)
    }
}

/// What the client sent with AUTH, in base64.
pub(in crate::server) type InitialResponse = Hidden<Zeroizing<String>>;

/// What comes next in an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum SaslStep {
    /// Send this challenge, a whole reply line, and read a response.
    Challenge(&'static str),
    /// Check this.
    Check(LoginAttempt),
}

/// An exchange that has begun.
#[derive(Debug)]
pub(in crate::server) enum Exchange {
    /// Waits for the one response of PLAIN.
    Plain,
    /// Waits for the name.
    LoginName,
    /// Waits for the password of this name.
    LoginPassword(Hidden<String>),
}

impl Exchange {
    /// Begins an exchange by the mechanism of this name.
    pub(in crate::server) fn begin(mechanism: &str) -> Result<Self, ServerReply> {
        if mechanism.eq_ignore_ascii_case("PLAIN") {
            Ok(Self::Plain)
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            Ok(Self::LoginName)
        } else {
            Err(reply::UNKNOWN_MECHANISM)
        }
    }

    /// The first challenge, or the step after an initial response.
    pub(in crate::server) fn first(
        &mut self,
        initial: Option<&InitialResponse>,
    ) -> Result<SaslStep, ServerReply> {
        match initial.map(|response| response.0.as_str()) {
            None => Ok(SaslStep::Challenge(match self {
                Self::Plain => "334 ",
                Self::LoginName => "334 VXNlcm5hbWU6",
                Self::LoginPassword(_) => "334 UGFzc3dvcmQ6",
            })),
            // An empty response, as against none (RFC 4954 section 4).
            Some("=") => self.decoded(Zeroizing::new(Vec::new())),
            Some(text) => self.respond(text.as_bytes()),
        }
    }

    /// The step after a response: a line of the client without its CRLF.
    pub(in crate::server) fn respond(&mut self, line: &[u8]) -> Result<SaslStep, ServerReply> {
        if line == b"*" {
            return Err(reply::AUTH_CANCELLED);
        }
        let response = STANDARD.decode(line).map_err(|_| reply::BAD_BASE64)?;
        self.decoded(Zeroizing::new(response))
    }

    fn decoded(&mut self, response: Zeroizing<Vec<u8>>) -> Result<SaslStep, ServerReply> {
        match std::mem::replace(self, Self::LoginName) {
            Self::Plain => plain(&response),
            Self::LoginName => {
                *self = Self::LoginPassword(Hidden(name(&response)?));
                Ok(SaslStep::Challenge("334 UGFzc3dvcmQ6"))
            }
            Self::LoginPassword(name) => attempt(name, &response),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`.
fn plain(response: &[u8]) -> Result<SaslStep, ServerReply> {
    let mut fields = response.split(|byte| *byte == 0);
    let (Some(acting_for), Some(who), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(reply::BAD_RESPONSE);
    };
    let who = name(who)?;
    if !acting_for.is_empty() && acting_for != who.as_bytes() {
        // Nobody acts for someone else here.
        return Err(reply::BAD_CREDENTIALS);
    }
    attempt(Hidden(who), password)
}

fn name(bytes: &[u8]) -> Result<String, ServerReply> {
    match std::str::from_utf8(bytes) {
        Ok(name) if check_user_name(name).is_ok() => Ok(name.to_owned()),
        Ok(_) | Err(_) => Err(reply::BAD_USER_NAME),
    }
}

/// Refuses passwords that no user can have, without hashing them.
fn attempt(name: Hidden<String>, password: &[u8]) -> Result<SaslStep, ServerReply> {
    if password.is_empty() || password.len() > MAX_PASSWORD || password.contains(&0) {
        return Err(reply::BAD_CREDENTIALS);
    }
    Ok(SaslStep::Check(LoginAttempt {
        name,
        password: Hidden(Zeroizing::new(password.to_vec())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(text: &str) -> InitialResponse {
        Hidden(Zeroizing::new(text.to_owned()))
    }

    fn run(mechanism: &str, initial: Option<&str>, lines: &[&str]) -> Result<SaslStep, ServerReply> {
        let mut exchange = Exchange::begin(mechanism)?;
        let mut step = exchange.first(initial.map(response).as_ref());
        for line in lines {
            assert!(
                matches!(step, Ok(SaslStep::Challenge(_))),
                "{step:?} before {line}"
            );
            step = exchange.respond(line.as_bytes());
        }
        step
    }

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        STANDARD.encode(bytes)
    }

    fn check(name: &str, password: &str) -> Result<SaslStep, ServerReply> {
        Ok(SaslStep::Check(LoginAttempt {
            name: Hidden(name.into()),
            password: Hidden(Zeroizing::new(password.into())),
        }))
    }

    #[test]
    fn both_mechanisms_work_with_and_without_initial_response() {
        let (plain, name, password) = (encode("\0ada\0s3cret"), encode("ada"), encode("s3cret"));
        let expected = check("ada", "s3cret");
        assert_eq!(run("plain", Some(&plain), &[]), expected);
        assert_eq!(run("PLAIN", None, &[&plain]), expected);
        assert_eq!(run("PLAIN", Some(&encode("ada\0ada\0s3cret")), &[]), expected);
        assert_eq!(run("Login", None, &[&name, &password]), expected);
        assert_eq!(run("LOGIN", Some(&name), &[&password]), expected);
        assert_eq!(run("PLAIN", None, &[]), Ok(SaslStep::Challenge("334 ")));
        assert_eq!(
            run("LOGIN", None, &[]),
            Ok(SaslStep::Challenge("334 VXNlcm5hbWU6"))
        );
        assert_eq!(
            run("LOGIN", None, &[&name]),
            Ok(SaslStep::Challenge("334 UGFzc3dvcmQ6"))
        );
        assert_eq!(
            run("PLAIN", Some(&encode("\0ada\0p\u{e4}ss w\u{f6}rd")), &[]),
            check("ada", "p\u{e4}ss w\u{f6}rd")
        );
    }

    #[test]
    fn what_is_no_response_of_the_mechanism_is_refused() {
        let long = "x".repeat(MAX_PASSWORD + 1);
        for (mechanism, initial, lines, expected) in [
            ("CRAM-MD5", None, vec![], reply::UNKNOWN_MECHANISM),
            ("PLAIN", Some("="), vec![], reply::BAD_RESPONSE),
            ("PLAIN", Some("*"), vec![], reply::AUTH_CANCELLED),
            ("PLAIN", None, vec!["*".to_owned()], reply::AUTH_CANCELLED),
            (
                "LOGIN",
                None,
                vec![encode("ada"), "*".to_owned()],
                reply::AUTH_CANCELLED,
            ),
            ("PLAIN", Some("!"), vec![], reply::BAD_BASE64),
            ("PLAIN", None, vec!["=".to_owned()], reply::BAD_BASE64),
            ("PLAIN", None, vec!["AGFkYQBwd2".to_owned()], reply::BAD_BASE64),
            ("PLAIN", None, vec![String::new()], reply::BAD_RESPONSE),
            ("PLAIN", None, vec![encode("ada\0pw")], reply::BAD_RESPONSE),
            ("PLAIN", None, vec![encode("\0ada\0p\0w")], reply::BAD_RESPONSE),
            (
                "PLAIN",
                None,
                vec![encode("root\0ada\0pw")],
                reply::BAD_CREDENTIALS,
            ),
            ("PLAIN", None, vec![encode("\0ada\0")], reply::BAD_CREDENTIALS),
            (
                "PLAIN",
                None,
                vec![encode(format!("\0ada\0{long}"))],
                reply::BAD_CREDENTIALS,
            ),
            ("PLAIN", None, vec![encode("\0\0pw")], reply::BAD_USER_NAME),
            (
                "PLAIN",
                None,
                vec![encode("\0\u{e4}da\0pw")],
                reply::BAD_USER_NAME,
            ),
            ("PLAIN", None, vec![encode(b"\0\xff\0pw")], reply::BAD_USER_NAME),
            ("LOGIN", Some("="), vec![], reply::BAD_USER_NAME),
            ("LOGIN", None, vec![encode("a b")], reply::BAD_USER_NAME),
            (
                "LOGIN",
                None,
                vec![encode("ada"), encode("p\0w")],
                reply::BAD_CREDENTIALS,
            ),
            (
                "LOGIN",
                None,
                vec![encode("ada"), String::new()],
                reply::BAD_CREDENTIALS,
            ),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let found = run(mechanism, initial, &lines);
            assert_eq!(found, Err(expected), "{mechanism} {initial:?} {lines:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let mut exchange = Exchange::begin("LOGIN").unwrap();
        let _ = exchange.respond(encode("s3cret").as_bytes());
        let attempt = run("PLAIN", Some(&encode("\0s3cret\0s3cret")), &[]);
        let initial = response("s3cret");
        let shown = format!("{exchange:?} {attempt:?} {initial:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains(&encode("s3cret")),
            "{shown}"
        );
        // Bytes shown as numbers.
        assert!(!shown.contains("115"), "{shown}");
    }

    proptest! {
        #[test]
        fn only_a_complete_response_is_an_attempt(
            mechanism in "PLAIN|LOGIN",
            initial in proptest::option::of("[A-Za-z0-9+/]{0,12}={0,2}|\\*|="),
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
        ) {
            let mut exchange = Exchange::begin(&mechanism).unwrap();
            let mut step = exchange.first(initial.as_deref().map(response).as_ref());
            for line in &lines {
                if !matches!(step, Ok(SaslStep::Challenge(_))) {
                    break;
                }
                step = exchange.respond(line);
            }
            if let Ok(SaslStep::Check(attempt)) = step {
                prop_assert!(check_user_name(&attempt.name.0).is_ok());
                prop_assert!((1..=MAX_PASSWORD).contains(&attempt.password.0.len()));
            }
        }
    }
}
