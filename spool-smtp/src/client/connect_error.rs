//! Why an attempt has no session with a host.

use spool_core::{AttemptResult, EnhancedCode, Reply, Stage, harmless};
use thiserror::Error;

/// "Encryption needed" (RFC 8689 section 4.2.1): the code of our own reply when a peer does not offer STARTTLS.
pub(super) const STARTTLS_NOT_OFFERED: EnhancedCode = EnhancedCode(5, 7, 10);

/// Why there is no session.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// The peer was not reached, or sent nothing.
    #[error("{0}")]
    Failed(String),
    /// The attempt was withdrawn: the spool has ended, or has refused to record its start.
    #[error("not tried: the spool has withdrawn the attempt")]
    Withdrawn,
    /// The peer was reached and the session ended with this result, `Refused` or `Broken`.
    #[error("{0}")]
    Ended(AttemptResult),
    /// The same, because TLS failed: plaintext may succeed.
    #[error("{0}")]
    TlsFailed(AttemptResult),
    /// The peer was reached and cannot accept such a message. The reply is our own.
    #[error("{0}")]
    Unable(Reply),
}

/// The result of a session that broke.
pub(super) fn broken(stage: Stage, error: &str, in_doubt: bool) -> AttemptResult {
    let error = harmless(error);
    AttemptResult::Broken {
        stage,
        error,
        in_doubt,
    }
}

impl ConnectError {
    pub(super) const fn refused(stage: Stage, reply: Reply) -> Self {
        Self::Ended(AttemptResult::Refused { stage, reply })
    }

    pub(super) fn broken(stage: Stage, error: &str) -> Self {
        Self::Ended(broken(stage, error, false))
    }

    /// The error for a message with REQUIRETLS: a peer without STARTTLS cannot accept it, now or later.
    pub(super) fn for_requiretls(self) -> Self {
        if let Self::Ended(result) | Self::TlsFailed(result) = &self
            && let AttemptResult::Refused {
                stage: Stage::Tls,
                reply,
            } = result
            && reply.enhanced == Some(STARTTLS_NOT_OFFERED)
        {
            return Self::Unable(reply.clone());
        }
        self
    }

    /// Whether another address of the host may accept a session: not if TLS failed, for which there is another rule, nor if credentials
    /// were refused, which are the same for every address.
    pub(super) const fn may_depend_on_the_address(&self) -> bool {
        use AttemptResult::{Broken, Refused};
        if let Self::Ended(Refused { stage, .. } | Broken { stage, .. }) = self {
            return matches!(stage, Stage::Connect | Stage::Hello);
        }
        matches!(self, Self::Failed(_))
    }

    /// The result of the host.
    pub(super) fn result(&self) -> AttemptResult {
        match self {
            Self::Failed(error) => AttemptResult::NoConnection { error: error.clone() },
            Self::Withdrawn => AttemptResult::NotBegun {
                reason: self.to_string(),
            },
            Self::Ended(result) | Self::TlsFailed(result) => result.clone(),
            Self::Unable(reply) => AttemptResult::Refused {
                stage: Stage::Route,
                reply: reply.clone(),
            },
        }
    }
}
