//! The content of a notice for each recipient, from the record of the message.

use super::decision::Decision;
use super::original::Extent;
use super::record::Action;
use crate::attempt::{Attempt, AttemptResult, RecipientIndex, Stage};
use crate::clock::Timestamp;
use crate::envelope::Ret;
use crate::message::Message;
use crate::next_hop::NextHop;
use crate::reply::{EnhancedCode, Reply};
use std::collections::HashMap;

/// The content of a notice.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The message it is about.
    pub message: &'a Message,
    /// At least one.
    pub recipients: Vec<ReportedRecipient<'a>>,
    /// The body of that message.
    pub body: &'a [u8],
}

/// The content of a notice for one recipient.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReportedRecipient<'a> {
    /// Which.
    pub index: RecipientIndex,
    /// The action.
    pub action: Action,
    /// The status of RFC 3463. Its class fits the action.
    pub status: EnhancedCode,
    /// The reply of a peer in the newest attempt that concerns it; `None` if that attempt had no reply.
    pub reply: Option<&'a Reply>,
    /// How that attempt ended without a reply, in one line.
    pub error: Option<&'a str>,
    /// Why it failed, in one line, if the reply does not say it.
    pub reason: Option<&'a str>,
    /// The host of that attempt.
    pub remote: Option<&'a NextHop>,
    /// When that attempt ended.
    pub last_attempt: Option<Timestamp>,
    /// The last reply before that attempt and its host, if that attempt had none. For people only.
    pub earlier: Option<(&'a Reply, Option<&'a NextHop>)>,
    /// Whether the reply is this host's own ([`Stage::Route`]), not a peer's.
    pub ours: bool,
}

impl<'a> Report<'a> {
    /// The content of the notice that `decision` asks for about `message`, whose state is that after the attempt,
    /// before the decision is recorded. `by_hand`: an operator ended the message, and it did not expire.
    #[must_use]
    pub fn new(message: &'a Message, decision: &Decision, body: &'a [u8], by_hand: bool) -> Self {
        let attempts = &message.state.attempts;
        // The replies of each attempt to individual recipients.
        let mut refused = HashMap::new();
        for (nth, attempt) in attempts.iter().enumerate() {
            let told = attempt.report.refused.iter();
            refused.extend(told.map(|one| ((nth, one.recipient), &one.reply)));
        }
        let failed: HashMap<_, _> = message
            .state
            .failed
            .iter()
            .map(|one| (one.recipient, one))
            .collect();
        let one = |index: RecipientIndex, action: Action| {
            let given_up = failed.get(&index).filter(|_| action == Action::Failed);
            let own = given_up.and_then(|failed| failed.reply.as_ref());
            // Newest first.
            let mut concerning = attempts.iter().enumerate().rev().filter_map(|(nth, attempt)| {
                let of_it = refused.get(&(nth, index)).copied();
                Some((reply_to(attempt, of_it, action)?, attempt))
            });
            let source = concerning.find(|(reply, _)| own.is_none() || own == *reply);
            let reply = own.or(source.and_then(|(reply, _)| reply));
            let attempt = source.map(|(_, attempt)| attempt);
            let result = attempt.map(|attempt| &attempt.report.result);
            let ours = result.is_some_and(|result| is_ours(result, reply));
            let earlier = match reply {
                Some(_) => None,
                None => concerning.find_map(|(reply, attempt)| Some((reply?, attempt.report.peer.as_ref()))),
            };
            let said = given_up.map(|failed| failed.reason.as_str());
            ReportedRecipient {
                index,
                action,
                status: status(action, reply, own.is_some() || by_hand, result),
                reply,
                error: result.filter(|_| reply.is_none()).and_then(text_of),
                reason: said.filter(|_| own.is_none()),
                remote: attempt.and_then(|attempt| attempt.report.peer.as_ref()),
                last_attempt: attempt.map(|attempt| attempt.at.after(attempt.duration())),
                earlier,
                ours,
            }
        };
        let actions = decision.actions();
        let recipients = actions
            .iter()
            .flat_map(|(action, indices)| indices.iter().map(|index| one(*index, *action)));
        Self {
            message,
            recipients: recipients.collect(),
            body,
        }
    }

    pub(super) fn has(&self, action: Action) -> bool {
        self.recipients.iter().any(|recipient| recipient.action == action)
    }

    pub(super) fn extent(&self) -> Extent {
        let asked = &self.message.envelope.parameters;
        match asked.ret {
            _ if asked.requiretls => Extent::Redacted,
            // RET applies to failures only (RFC 3461 section 4.3).
            Some(Ret::Full) | None if self.has(Action::Failed) => Extent::Full,
            Some(Ret::Full | Ret::Headers) | None => Extent::Headers,
        }
    }
}

/// The reply of an attempt for a recipient, `of_it` being the reply to it alone: `None` when the attempt does not
/// concern it, `Some(None)` when there was no reply. A recipient that was neither accepted nor refused alone has the
/// result of the session.
fn reply_to<'a>(attempt: &'a Attempt, of_it: Option<&'a Reply>, action: Action) -> Option<Option<&'a Reply>> {
    match (&attempt.report.result, action) {
        (AttemptResult::Accepted(reply), Action::Relayed) if of_it.is_none() => Some(Some(reply)),
        (_, Action::Relayed) => None,
        (_, Action::Failed | Action::Delayed) if of_it.is_some() => Some(of_it),
        (AttemptResult::Refused { reply, .. }, Action::Failed | Action::Delayed) => Some(Some(reply)),
        (
            AttemptResult::NoConnection { .. }
            | AttemptResult::Broken { .. }
            | AttemptResult::Interrupted
            | AttemptResult::Panicked { .. },
            Action::Failed | Action::Delayed,
        ) => Some(None),
        (
            AttemptResult::Accepted(_) | AttemptResult::AllRefused | AttemptResult::NotBegun { .. },
            Action::Failed | Action::Delayed,
        ) => None,
    }
}

/// Whether `reply` is this host's own.
fn is_ours(result: &AttemptResult, reply: Option<&Reply>) -> bool {
    matches!(result, AttemptResult::Refused { stage: Stage::Route, reply: own } if Some(own) == reply)
}

/// The text of a result without a reply.
fn text_of(result: &AttemptResult) -> Option<&str> {
    match result {
        AttemptResult::NoConnection { error } | AttemptResult::Broken { error, .. } => Some(error),
        AttemptResult::Interrupted => Some("the attempt was interrupted"),
        AttemptResult::Panicked { .. } => Some("the attempt failed"),
        AttemptResult::Accepted(_)
        | AttemptResult::AllRefused
        | AttemptResult::Refused { .. }
        | AttemptResult::NotBegun { .. } => None,
    }
}

/// The status: that of the peer if its class fits, otherwise one of RFC 3463. `settled`: the reply made the recipient
/// fail.
fn status(
    action: Action,
    reply: Option<&Reply>,
    settled: bool,
    result: Option<&AttemptResult>,
) -> EnhancedCode {
    let class = match action {
        Action::Failed => 5,
        Action::Delayed => 4,
        Action::Relayed => 2,
    };
    let own = reply.and_then(|reply| reply.enhanced);
    match (own, action, result) {
        (Some(own), _, _) if own.0 == class && (settled || action != Action::Failed) => own,
        (_, Action::Relayed, _) => EnhancedCode(class, 0, 0),
        // Delivery time expired.
        (_, Action::Failed, _) if !settled => EnhancedCode(class, 4, 7),
        (_, Action::Delayed, Some(AttemptResult::NoConnection { .. })) => EnhancedCode(class, 4, 1),
        (_, Action::Delayed, Some(AttemptResult::Broken { .. })) => EnhancedCode(class, 4, 2),
        (
            _,
            _,
            Some(AttemptResult::Refused {
                stage: Stage::Route, ..
            }),
        ) => EnhancedCode(class, 4, 4),
        (_, Action::Failed | Action::Delayed, _) => EnhancedCode(class, 0, 0),
    }
}
