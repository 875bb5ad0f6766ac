//! Makes the page of a message from its record.

use super::{AttemptPage, NoticePage, Page, RecipientFate, RecipientPage, RefusedPage};
use spool_core::{
    Address, Attempt, AttemptResult, BodyKind, FailedRecipient, Message, MessageId, MessageState, Queue,
    Recipient, RecipientIndex, Reply, ShownStatus, Stage,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl Page {
    /// The page of `message`, which is in `queue`.
    pub(crate) fn of(message: &Message, queue: Queue, status: ShownStatus, reason: Option<String>) -> Self {
        let state = &message.state;
        let archived = matches!(queue, Queue::Removed | Queue::Quarantine);
        let attempts = state.attempts.iter();
        let attempts = attempts.map(|attempt| AttemptPage::of(message, attempt));
        Self {
            id: message.id,
            queue,
            status,
            reason: reason
                .or_else(|| spool_core::reason(state))
                .map(|reason| spool_core::harmless(&reason)),
            spooled_at: message.spooled_at,
            next_attempt: status.next_attempt().filter(|_| !archived),
            expires_at: state.expires_at,
            in_flight: state.in_flight,
            size: message.body_size,
            sender: message.envelope.reverse_path.as_str().to_owned(),
            parameters: mail_parameters(message),
            recipients: recipients(message),
            next_hops: Arc::clone(&message.next_hops),
            next_hops_afterwards: None,
            route: message.origin,
            retry_intervals: state.schedule.intervals.clone(),
            repeat_last: state.schedule.repeat_last,
            attempts: attempts.collect(),
            attempts_left_out: state.attempts.left_out(),
            parent: message.parent,
            notices: NoticePage::of(message),
            unknown_submitter: state.notices.unknown_submitter,
            related: message.related.to_vec(),
            parts: Vec::new(),
            flows: message.flows.clone(),
        }
    }

    /// Adds the other parts of a divided message. Their recipients `moved` there, although the attempts do not say so.
    pub(crate) fn divide(&mut self, parts: Vec<MessageId>, moved: &[Address]) {
        self.parts = parts;
        let moved: HashSet<&str> = moved.iter().map(Address::as_str).collect();
        for recipient in &mut self.recipients {
            if recipient.fate == RecipientFate::Done && moved.contains(recipient.address.as_str()) {
                recipient.fate = RecipientFate::Elsewhere;
            }
        }
    }
}

fn mail_parameters(message: &Message) -> Vec<String> {
    let given = &message.envelope.parameters;
    let envid = given.envid.as_ref();
    let flag = |set: bool, name: &str| set.then(|| name.to_owned());
    [
        flag(given.body == BodyKind::EightBitMime, "BODY=8BITMIME"),
        flag(given.smtputf8, "SMTPUTF8"),
        flag(given.requiretls, "REQUIRETLS"),
        given.ret.map(|ret| format!("RET={ret}")),
        envid.map(|envid| format!("ENVID={}", spool_core::harmless(envid))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn recipient_parameters(recipient: &Recipient) -> Vec<String> {
    let orcpt = |orcpt: &String| format!("ORCPT={}", spool_core::harmless(orcpt));
    let notify = recipient.notify.map(|notify| format!("NOTIFY={notify}"));
    notify
        .into_iter()
        .chain(recipient.orcpt.as_ref().map(orcpt))
        .collect()
}

/// The recipients to whom no attempt has delivered, according to the record: those that were refused in every accepted attempt.
/// `None`: no attempt was accepted, so all of them.
fn undelivered(state: &MessageState) -> Option<HashSet<RecipientIndex>> {
    if state.attempts.left_out() > 0 {
        // An attempt that is not kept may have delivered to any of them.
        return Some(HashSet::new());
    }
    let accepted = |attempt: &&Attempt| matches!(attempt.report.result, AttemptResult::Accepted(_));
    let refused = |attempt: &Attempt| -> HashSet<_> {
        let refused = attempt.report.refused.iter();
        refused.map(|refused| refused.recipient).collect()
    };
    let accepting = state.attempts.iter().filter(accepted).map(refused);
    accepting.reduce(|one, other| one.intersection(&other).copied().collect())
}

pub(super) fn recipients(message: &Message) -> Vec<RecipientPage> {
    let state = &message.state;
    let failed = state.failed.iter().map(|failed| (failed.recipient, failed));
    let failed: HashMap<RecipientIndex, &FailedRecipient> = failed.collect();
    let remaining: HashSet<RecipientIndex> = state.remaining.iter().copied().collect();
    let undelivered = undelivered(state);
    let page = |(index, recipient): (RecipientIndex, &Recipient)| {
        let failed = failed.get(&index).copied();
        let fate = match (failed, remaining.contains(&index)) {
            (Some(_), _) => RecipientFate::Failed,
            (None, true) => RecipientFate::Remaining,
            (None, false) if state.notices.of_failed(index).is_some() => RecipientFate::Bounced,
            (None, false) if undelivered.as_ref().is_none_or(|these| these.contains(&index)) => {
                RecipientFate::Elsewhere
            }
            (None, false) => RecipientFate::Done,
        };
        RecipientPage {
            address: recipient.address.to_string(),
            parameters: recipient_parameters(recipient),
            fate,
            reason: failed.map(|failed| spool_core::harmless(&failed.reason)),
            reply: failed.and_then(|failed| failed.reply.clone()),
        }
    };
    (0..).zip(&message.envelope.recipients).map(page).collect()
}

impl AttemptPage {
    fn of(message: &Message, attempt: &Attempt) -> Self {
        let report = &attempt.report;
        let address = |index| Some(message.envelope.recipient(index)?.address.to_string());
        let refused = report.refused.iter().map(|refused| RefusedPage {
            address: address(refused.recipient).unwrap_or_default(),
            code: refused.reply.code,
            enhanced: refused.reply.enhanced.map(|code| code.to_string()),
            text: refused.reply.text.clone(),
        });
        let (name, stage, reply, text) = outcome(&report.result);
        Self {
            at: attempt.at,
            duration_ms: attempt.duration_ms,
            peer: report.peer.clone(),
            tls: report.tls.as_deref().map(spool_core::harmless),
            session: report.session,
            outcome: name.to_owned(),
            stage,
            code: reply.map(|reply| reply.code),
            enhanced: reply.and_then(|reply| Some(reply.enhanced?.to_string())),
            text: reply.map_or_else(|| spool_core::harmless(text), |reply| reply.text.clone()),
            in_doubt: report.in_doubt(),
            refused: refused.collect(),
        }
    }
}

/// The name of an outcome, its stage, its reply and its text.
fn outcome(result: &AttemptResult) -> (&'static str, Option<Stage>, Option<&Reply>, &str) {
    match result {
        AttemptResult::Accepted(reply) => ("accepted", None, Some(reply), ""),
        AttemptResult::AllRefused => ("all_refused", Some(Stage::Rcpt), None, ""),
        AttemptResult::Refused { stage, reply } => ("refused", Some(*stage), Some(reply), ""),
        AttemptResult::NoConnection { error } => ("no_connection", None, None, error),
        AttemptResult::NotBegun { reason } => ("not_begun", None, None, reason),
        AttemptResult::Broken { stage, error, .. } => ("broken", Some(*stage), None, error),
        AttemptResult::Interrupted => ("interrupted", None, None, "the process ended during the attempt"),
        AttemptResult::Panicked { text } => ("panicked", None, None, text),
        _ => ("unknown", None, None, ""),
    }
}
