//! Why a message waits or is frozen, according to its state.

use crate::attempt::{AttemptResult, Stage};
use crate::frozen::{Frozen, FrozenKind, FrozenReason};
use crate::message::{MessageState, Status};
use std::borrow::Cow;

impl FrozenReason {
    /// The failure of a message in this state, whose last attempt has just ended: the reply or error of the recipient
    /// that failed last.
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
    /// The reason assumed for a frozen message whose reason was not recorded: failed, if no recipient remains and some
    /// failed; otherwise held by an unknown operator.
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

/// Since when and why a message is frozen; `None` of one that is not.
fn frozen(state: &MessageState) -> Option<Cow<'_, Frozen>> {
    let recorded = state.frozen.as_deref().map(Cow::Borrowed);
    let frozen = || recorded.unwrap_or_else(|| Cow::Owned(Frozen::unrecorded(state)));
    (state.status == Status::Frozen).then(frozen)
}

/// The kind of the reason of a frozen message; `None` of one that is not frozen.
#[must_use]
pub fn frozen_kind(state: &MessageState) -> Option<FrozenKind> {
    frozen(state).map(|frozen| frozen.why.kind())
}

/// Why a message waits, in one line: the reason of a frozen message; the last reply or error of a message that waits
/// for a retry; nothing for a message that was never tried.
#[must_use]
pub fn reason(state: &MessageState) -> Option<String> {
    if let Some(frozen) = frozen(state) {
        return Some(frozen.to_string());
    }
    let report = &state.attempts.last()?.report;
    Some(match (&report.result, report.refused.last()) {
        // The message waits because of the recipients that were refused one by one.
        (AttemptResult::Accepted(_) | AttemptResult::AllRefused, Some(refused)) => refused.reply.to_string(),
        (result, _) => result.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Attempt, AttemptReport, RefusedRecipient};
    use crate::clock::Timestamp;
    use crate::message::FailedRecipient;
    use crate::reply::Reply;
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
            attempts: crate::attempts::Attempts::default(),
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
    fn the_reason_of_a_deferral_is_the_last_reply_or_error() {
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
    fn a_missing_reason_of_a_freeze_is_inferred() {
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
