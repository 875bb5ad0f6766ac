//! The client's credentials for a next hop: a user name with a password or a token, and the security that they require.
//!
//! The secret is in no log, no error and no Debug output.

use lettre::transport::smtp::authentication::Mechanism;
use spool_core::TlsPolicy;
use thiserror::Error;

/// A user name or a secret is empty or contains a control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a user name, a password or a token is not empty and holds no control character")]
pub struct CredentialsError;

/// A user name with a password or a token.
#[derive(Clone, PartialEq, Eq, Hash, derive_more::Debug)]
pub struct Credentials {
    user: String,
    #[debug(skip)]
    secret: String,
    #[debug(skip)]
    bearer: bool,
    /// The lowest TLS policy of a session.
    pub(super) security: TlsPolicy,
}

impl Credentials {
    /// For AUTH PLAIN, or LOGIN if PLAIN is not offered.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Result<Self, CredentialsError> {
        Self::new(user.into(), password.into(), false)
    }

    /// For AUTH XOAUTH2.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn bearer_token(user: impl Into<String>, token: impl Into<String>) -> Result<Self, CredentialsError> {
        Self::new(user.into(), token.into(), true)
    }

    fn new(user: String, secret: String, bearer: bool) -> Result<Self, CredentialsError> {
        // NUL and Control-A separate the fields of the mechanisms.
        if [&user, &secret]
            .into_iter()
            .any(|text| text.is_empty() || text.chars().any(char::is_control))
        {
            return Err(CredentialsError);
        }
        Ok(Self {
            user,
            secret,
            bearer,
            security: TlsPolicy::Verify,
        })
    }

    /// Sets the lowest TLS policy of a session; without it, `verify`. Under `required` an active attacker can read the secret, and under
    /// `none` an eavesdropper can: that is for a peer on the same machine. `opportunistic` counts as `required`: whoever removes STARTTLS
    /// from the offer must not get the secret.
    #[must_use]
    pub const fn over(mut self, security: TlsPolicy) -> Self {
        self.security = match security {
            TlsPolicy::Opportunistic => TlsPolicy::Required,
            lowest @ (TlsPolicy::None | TlsPolicy::Required | TlsPolicy::Verify) => lowest,
        };
        self
    }

    /// The user name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The mechanisms in order of preference.
    pub(super) const fn mechanisms(&self) -> &'static [Mechanism] {
        if self.bearer {
            &[Mechanism::Xoauth2]
        } else {
            &[Mechanism::Plain, Mechanism::Login]
        }
    }

    /// The response to the `n`-th challenge, counted from 0; `None` if the mechanism has no such challenge.
    pub(super) fn response(&self, mechanism: Mechanism, n: usize) -> Option<String> {
        let Self { user, secret, .. } = self;
        match (mechanism, n) {
            (Mechanism::Plain, 0) => Some(format!("\0{user}\0{secret}")),
            (Mechanism::Login, 0) => Some(user.clone()),
            (Mechanism::Login, 1) => Some(secret.clone()),
            (Mechanism::Xoauth2, 0) => Some(format!("user={user}\x01auth=Bearer {secret}\x01\x01")),
            // The challenge contains an error. The peer expects an empty response before it sends 535.
            (Mechanism::Xoauth2, 1) => Some(String::new()),
            (Mechanism::Plain | Mechanism::Login | Mechanism::Xoauth2, _) => None,
        }
    }

    /// Whether `text` contains the secret.
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(&self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown_and_separators_are_refused() {
        let credentials = Credentials::password("ada", "s3cret").unwrap();
        assert!(!format!("{credentials:?}").contains("s3cret"));
        for (user, secret) in [
            ("", "x"),
            ("x", ""),
            ("a\0b", "x"),
            ("a", "x\x01y"),
            ("a\r\n", "x"),
        ] {
            assert!(Credentials::password(user, secret).is_err(), "{user:?}");
            assert!(Credentials::bearer_token(user, secret).is_err(), "{user:?}");
        }
    }

    #[test]
    fn mechanisms_have_the_responses_that_are_specified() {
        let password = Credentials::password("ada", "pw").unwrap();
        assert_eq!(password.response(Mechanism::Plain, 0).unwrap(), "\0ada\0pw");
        assert_eq!(password.response(Mechanism::Plain, 1), None);
        assert_eq!(password.response(Mechanism::Login, 1).unwrap(), "pw");
        assert_eq!(password.response(Mechanism::Login, 2), None);
        let token = Credentials::bearer_token("ada", "tok").unwrap();
        assert_eq!(
            token.response(Mechanism::Xoauth2, 0).unwrap(),
            "user=ada\x01auth=Bearer tok\x01\x01"
        );
        assert_eq!(token.response(Mechanism::Xoauth2, 2), None);
    }
}
