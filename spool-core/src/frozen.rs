//! Why a message is frozen: a closed list, kept on disk with the message, and the words for a person.
//!
//! It decides nothing: whoever freezes a message says why.

use crate::attempt::{AttemptResult, Stage};
use crate::bounce::Unreturned;
use crate::clock::Timestamp;
use crate::message::{MessageState, Status};
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

/// Why a message is frozen. On disk each variant is known by its place: a new one goes to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrozenReason {
    /// A person holds it, or its submitter did.
    Held {
        /// Who, as far as known.
        by: Option<String>,
    },
    /// Recipients were refused for good, or no retry interval was left.
    Failed {
        /// Where in the session.
        stage: Option<Stage>,
        /// By which host.
        host: Option<NextHop>,
        /// With which words.
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

/// The kind of a [`FrozenReason`], for those who have no room for its words.
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
    /// Its kind; of a failure without a notice, that of the failure.
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

    /// The failure of a message in this state, whose last attempt has just ended: what settled the newest failed recipient, and where.
    #[must_use]
    pub fn failed(state: &MessageState) -> Self {
        let failed = state.failed.last();
        let report = state.attempts.last().map(|attempt| &attempt.report);
        let reply = failed.and_then(|failed| failed.reply.clone());
        let stage = report.and_then(|report| match (&report.result, &reply) {
            (AttemptResult::Refused { stage, reply }, Some(last)) if reply == last => Some(*stage),
            (_, Some(_)) => Some(Stage::Rcpt),
            (AttemptResult::Refused { stage, .. } | AttemptResult::Broken { stage, .. }, None) => {
                Some(*stage)
            }
            (_, None) => None,
        });
        let text = match (&reply, failed) {
            (None, Some(failed)) => failed.reason.clone(),
            _ => String::new(),
        };
        Self::Failed {
            stage,
            host: report.and_then(|report| report.peer.clone()),
            reply,
            text,
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

    /// What is to be assumed of a frozen message in this state whose reason was not recorded: failed, if nobody remains and somebody
    /// failed; held by an unknown person otherwise.
    #[must_use]
    pub fn unrecorded(state: &MessageState) -> Self {
        let has_failed = state.remaining.is_empty() && !state.failed.is_empty();
        let why = if has_failed {
            FrozenReason::failed(state)
        } else {
            FrozenReason::Held { by: None }
        };
        Self { at: None, why }
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

impl fmt::Display for FrozenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Hook => "hook",
            Self::Unreadable => "unreadable",
        })
    }
}

/// The kind of the reason of a frozen message; `None` of one that is not frozen.
#[must_use]
pub fn frozen_kind(state: &MessageState) -> Option<FrozenKind> {
    match (state.status, &state.frozen) {
        (Status::Frozen, Some(frozen)) => Some(frozen.why.kind()),
        (Status::Frozen, None) => Some(Frozen::unrecorded(state).why.kind()),
        (Status::SendAt(_), _) => None,
    }
}

/// In one line, why a message waits: of a frozen one its reason, of one that waits for a retry the last reply or error, of one that
/// was never tried nothing.
#[must_use]
pub fn reason(state: &MessageState) -> Option<String> {
    match (state.status, &state.frozen) {
        (Status::Frozen, Some(frozen)) => Some(frozen.to_string()),
        (Status::Frozen, None) => Some(Frozen::unrecorded(state).to_string()),
        (Status::SendAt(_), _) => {
            let report = &state.attempts.last()?.report;
            let refused = report.refused.last();
            match (&report.result, refused) {
                // The message waits for those who were refused one by one.
                (AttemptResult::Accepted(_) | AttemptResult::AllRefused, Some(refused)) => {
                    Some(refused.reply.to_string())
                }
                (result, _) => Some(result.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Attempt, AttemptReport, RefusedRecipient};
    use crate::message::FailedRecipient;
    use crate::retry::Schedule;

    fn state(status: Status) -> MessageState {
        MessageState {
            status,
            frozen: None,
            in_flight: None,
            remaining: vec![0],
            failed: Vec::new(),
            schedule: Schedule {
                intervals: Vec::new(),
                repeat_last: false,
            },
            expires_at: None,
            attempts: crate::attempts::Attempts::new(),
            notices: crate::bounce::Notices::default(),
        }
    }

    fn tried(mut state: MessageState, result: AttemptResult, refused: Option<Reply>) -> MessageState {
        let mut report = AttemptReport::new(result);
        report.peer = Some("mx.example:25".parse().unwrap());
        report.refused = refused
            .into_iter()
            .map(|reply| RefusedRecipient { recipient: 0, reply })
            .collect();
        state.attempts.push(Attempt {
            at: Timestamp(1),
            duration_ms: 1,
            report,
        });
        state
    }

    #[test]
    fn the_reason_of_a_waiting_message_is_its_last_reply_or_error() {
        assert_eq!(reason(&state(Status::SendAt(Timestamp(9)))), None);
        let refused = tried(
            state(Status::SendAt(Timestamp(9))),
            AttemptResult::AllRefused,
            Some(Reply::new(450, "4.2.0 greylisted")),
        );
        assert_eq!(reason(&refused).unwrap(), "450 4.2.0 greylisted");
        let error = "connection refused".to_owned();
        let unreached = tried(refused, AttemptResult::NoConnection { error }, None);
        assert_eq!(reason(&unreached).unwrap(), "no connection: connection refused");
    }

    #[test]
    fn a_frozen_message_without_a_recorded_reason_has_failed_or_is_held() {
        let held = state(Status::Frozen);
        assert_eq!(reason(&held).unwrap(), "held");
        let reply = Reply::new(550, "5.1.1 nobody here");
        let mut failed = tried(held, AttemptResult::AllRefused, Some(reply.clone()));
        failed.remaining.clear();
        failed.failed.push(FailedRecipient {
            recipient: 0,
            reason: reply.to_string(),
            reply: Some(reply),
        });
        assert_eq!(
            reason(&failed).unwrap(),
            "failed at RCPT of mx.example:25: 550 5.1.1 nobody here"
        );
        failed.frozen = Some(Box::new(Frozen::held(Timestamp(0), Some("ada".to_owned()))));
        assert_eq!(
            reason(&failed).unwrap(),
            format!("held by ada, since {}", Timestamp(0))
        );
    }
}
