//! Why an attempt has no session with a host.

use spool_core::{AttemptResult, EnhancedCode, Reply, Stage, harmless};
use std::fmt;

/// "Encryption needed" (RFC 8689 section 4.2.1): the code of our own reply when a peer does not offer STARTTLS.
pub(super) const STARTTLS_NOT_OFFERED: EnhancedCode = EnhancedCode(5, 7, 10);

/// Why there is no session.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The peer was not reached, or sent nothing.
    Failed(String),
    /// The attempt was withdrawn: the spool has ended, or has refused to record its start.
    Withdrawn,
    /// The peer was reached and the session ended with this result, `Refused` or `Broken`.
    Ended(AttemptResult),
    /// The peer was reached and cannot accept such a message. The reply is our own.
    Unable(Reply),
}

impl ConnectError {
    pub(super) const fn refused(stage: Stage, reply: Reply) -> Self {
        Self::Ended(AttemptResult::Refused { stage, reply })
    }

    pub(super) fn broken(stage: Stage, error: impl Into<String>) -> Self {
        Self::Ended(AttemptResult::Broken {
            stage,
            error: harmless(&error.into()),
            in_doubt: false,
        })
    }

    /// The error for a message with REQUIRETLS: a peer without STARTTLS cannot accept it, now or later.
    pub(super) fn for_requiretls(self) -> Self {
        match self {
            Self::Ended(AttemptResult::Refused {
                stage: Stage::Tls,
                reply,
            }) if reply.enhanced == Some(STARTTLS_NOT_OFFERED) => Self::Unable(reply),
            other @ (Self::Failed(_) | Self::Withdrawn | Self::Ended(_) | Self::Unable(_)) => other,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Withdrawn => f.write_str("not tried: the spool has withdrawn the attempt"),
            Self::Ended(result) => result.fmt(f),
            Self::Unable(reply) => reply.fmt(f),
        }
    }
}

/// Why a session was not opened, and whether the reason was TLS, so that plaintext may succeed.
#[derive(Debug)]
pub(super) struct SessionError {
    pub(super) error: ConnectError,
    pub(super) tls_failed: bool,
}

impl From<ConnectError> for SessionError {
    fn from(error: ConnectError) -> Self {
        Self {
            error,
            tls_failed: false,
        }
    }
}

impl SessionError {
    /// Whether another address of the host may accept a session: not if TLS failed, for which there is another rule, nor if credentials
    /// were refused, which are the same for every address.
    pub(super) const fn may_depend_on_the_address(&self) -> bool {
        !self.tls_failed
            && match &self.error {
                ConnectError::Failed(_) => true,
                ConnectError::Withdrawn | ConnectError::Unable(_) => false,
                ConnectError::Ended(result) => matches!(
                    result,
                    AttemptResult::Refused {
                        stage: Stage::Connect | Stage::Hello,
                        ..
                    } | AttemptResult::Broken {
                        stage: Stage::Connect | Stage::Hello,
                        ..
                    }
                ),
            }
    }

    pub(super) const fn tls(error: ConnectError) -> Self {
        Self {
            error,
            tls_failed: true,
        }
    }
}
