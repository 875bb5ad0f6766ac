//! Why a message is frozen: a closed list, recorded with the message, and its text for people.

use crate::attempt::Stage;
use crate::bounce::Unreturned;
use crate::clock::Timestamp;
use crate::next_hop::NextHop;
use crate::reply::Reply;
use derive_more::Display;
use serde::{Deserialize, Serialize};

/// Since when a message is frozen, and why.
#[derive(Debug, Display, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[display("{why}{}", at.map_or_else(String::new, |at| format!(", since {at}")))]
pub struct Frozen {
    /// When it was frozen; `None` when that was not recorded (format 1).
    pub at: Option<Timestamp>,
    /// Why.
    pub why: FrozenReason,
}

/// Why a message is frozen. On disk each variant is identified by its position: new ones are added at the end.
#[derive(Debug, Display, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrozenReason {
    /// An operator, or the submitter, froze it.
    #[display("held{}", by.as_ref().map_or_else(String::new, |by| format!(" by {by}")))]
    Held {
        /// Who, if known.
        by: Option<String>,
    },
    /// Recipients were refused for good, or no retry interval was left.
    #[display("failed{}", failure(*stage, host.as_ref(), reply.as_ref(), text))]
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
    #[display("expired")]
    Expired,
    /// The presend hook asked for it.
    #[display("frozen by the presend hook")]
    Hook,
    /// It cannot be read from the disk.
    #[display("cannot be read: {what}")]
    Unreadable {
        /// In one line, why.
        what: String,
    },
    /// It failed or expired, and no notice about that was returned.
    #[display("{failure}; no notice was returned: {why}")]
    Unreturned {
        /// Why it is not tried any more.
        failure: Box<Self>,
        /// Why no notice was returned.
        why: Unreturned,
    },
}

/// The kind of a [`FrozenReason`], without its texts.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "snake_case")]
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

fn failure(stage: Option<Stage>, host: Option<&NextHop>, reply: Option<&Reply>, text: &str) -> String {
    let reply = reply.map_or_else(|| text.to_owned(), Reply::to_string);
    let said = (!reply.is_empty()).then(|| format!(": {reply}"));
    let stage = stage.map(|stage| format!(" at {stage}"));
    let host = host.map(|host| format!(" of {host}"));
    [stage, host, said].into_iter().flatten().collect()
}
