//! Why a message is frozen: a closed list, recorded with the message, and its text for people.

use crate::attempt::Stage;
use crate::bounce::Unreturned;
use crate::clock::Timestamp;
use crate::next_hop::NextHop;
use crate::reply::Reply;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Since when a message is frozen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// When it was frozen; `None` when that was not recorded (format 1).
    pub at: Option<Timestamp>,
    /// Why.
    pub why: FrozenReason,
}

/// Why a message is frozen. On disk each variant is identified by its position: new ones are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrozenReason {
    /// An operator, or the submitter, froze it.
    Held {
        /// Who, if known.
        by: Option<String>,
    },
    /// Recipients were refused for good, or no retry interval was left.
    Failed {
        /// Where in the session.
        stage: Option<Stage>,
        /// By which host.
        host: Option<NextHop>,
        /// The reply.
        reply: Option<Reply>,
        /// In one line, when no reply says it.
        text: String,
    },
    /// It was tried for as long as allowed.
    Expired,
    /// The presend hook asked for it.
    Hook,
    /// It cannot be read from the disk.
    Unreadable {
        /// In one line, why.
        what: String,
    },
    /// It failed or expired, and no notice about that was returned.
    Unreturned {
        /// Why it is not tried any more.
        failure: Box<Self>,
        /// Why no notice was returned.
        why: Unreturned,
    },
}

/// The kind of a [`FrozenReason`], without its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrozenKind {
    /// [`FrozenReason::Held`].
    Held,
    /// [`FrozenReason::Failed`].
    Failed,
    /// [`FrozenReason::Expired`].
    Expired,
    /// [`FrozenReason::Hook`].
    Hook,
    /// [`FrozenReason::Unreadable`].
    Unreadable,
}

impl FrozenReason {
    /// Its kind; for a failure without a notice, the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> FrozenKind {
        match self {
            Self::Held { .. } => FrozenKind::Held,
            Self::Failed { .. } => FrozenKind::Failed,
            Self::Expired => FrozenKind::Expired,
            Self::Hook => FrozenKind::Hook,
            Self::Unreadable { .. } => FrozenKind::Unreadable,
            Self::Unreturned { failure, .. } => failure.kind(),
        }
    }
}

impl Frozen {
    /// Frozen at `at`, for this reason.
    #[must_use]
    pub const fn new(at: Timestamp, why: FrozenReason) -> Self {
        Self { at: Some(at), why }
    }

    /// Held since `at` by `by`, when that is known.
    #[must_use]
    pub const fn held(at: Timestamp, by: Option<String>) -> Self {
        Self::new(at, FrozenReason::Held { by })
    }
}

impl fmt::Display for FrozenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { by: Some(by) } => write!(f, "held by {by}"),
            Self::Held { by: None } => f.write_str("held"),
            Self::Failed {
                stage,
                host,
                reply,
                text,
            } => {
                f.write_str("failed")?;
                if let Some(stage) = stage {
                    write!(f, " at {stage}")?;
                }
                if let Some(host) = host {
                    write!(f, " of {host}")?;
                }
                match reply {
                    Some(reply) => write!(f, ": {reply}"),
                    None if text.is_empty() => Ok(()),
                    None => write!(f, ": {text}"),
                }
            }
            Self::Expired => f.write_str("expired"),
            Self::Hook => f.write_str("frozen by the presend hook"),
            Self::Unreadable { what } => write!(f, "cannot be read: {what}"),
            Self::Unreturned { failure, why } => write!(f, "{failure}; no notice was returned: {why}"),
        }
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)?;
        match self.at {
            Some(at) => write!(f, ", since {at}"),
            None => Ok(()),
        }
    }
}

impl FrozenKind {
    /// Its name, in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Hook => "hook",
            Self::Unreadable => "unreadable",
        }
    }
}
