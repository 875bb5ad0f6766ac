//! One message as the API gives it and `show` prints it: made from what the spool or a directory knows, read back by
//! the command line.
//!
//! It never holds the body, and every text of a peer in it is one harmless line.

use serde::{Deserialize, Serialize};
use spool_core::bounce::Action;
use spool_core::{
    Attempt, AttemptResult, BodyKind, FailedRecipient, FlowId, Message, MessageId, MessageState, NextHop,
    Notify, Queue, Recipient, RecipientIndex, Reply, Ret, RouteOrigin, ShownStatus, Stage, Timestamp,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Everything about one message but its body. Times are as RFC 3339 writes them, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) id: MessageId,
    pub(crate) queue: Queue,
    pub(crate) status: ShownStatus,
    pub(crate) reason: Option<String>,
    pub(crate) spooled_at: Timestamp,
    pub(crate) next_attempt: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Begin of the attempt that runs, or whose end is not known.
    pub(crate) in_flight: Option<Timestamp>,
    pub(crate) size: u64,
    pub(crate) sender: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) recipients: Vec<RecipientPage>,
    pub(crate) next_hops: Arc<[NextHop]>,
    /// Those for whoever is left when the attempt that runs has ended, if the message was rerouted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_hops_afterwards: Option<Arc<[NextHop]>>,
    /// Where they come from: `named`, `configured` or `built_in_sink`.
    pub(crate) route: RouteOrigin,
    /// The waits to come, in milliseconds.
    pub(crate) retry_intervals: Vec<IntervalPage>,
    pub(crate) repeat_last: bool,
    pub(crate) attempts: Vec<AttemptPage>,
    /// How many attempts after the first one are not listed.
    pub(crate) attempts_left_out: u64,
    pub(crate) parent: Option<MessageId>,
    /// What its sender was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<NoticePage>,
    /// Whether nobody vouches for its sender, so that no notice is returned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown_submitter: bool,
    pub(crate) related: Vec<MessageId>,
    /// Of a message that was divided among its routes, the other parts, as far as they are on the spool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<MessageId>,
    pub(crate) flows: Vec<FlowId>,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecipientPage {
    pub(crate) address: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) fate: Fate,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    /// With which words.
    pub(crate) reply: Option<Reply>,
}

/// What the sender was told, or did not want to be told, of some recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticePage {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
    /// The message that tells it; none when nobody wanted to be told.
    pub(crate) id: Option<MessageId>,
    pub(crate) recipients: Vec<String>,
}

impl NoticePage {
    /// All of a message.
    pub(crate) fn of(message: &Message) -> Vec<Self> {
        let address = |index: &RecipientIndex| {
            let recipient = message.envelope.recipients.get(usize::try_from(*index).ok()?)?;
            Some(recipient.address.to_string())
        };
        let given = message.state.notices.given.iter().map(|notice| Self {
            at: notice.at,
            action: notice.action,
            id: notice.id,
            recipients: notice.recipients.iter().filter_map(address).collect(),
        });
        given.collect()
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let (at, action) = (self.at, self.action);
        match self.id {
            Some(id) => format!("{at} {action}: a notice was returned as {id}"),
            None => format!("{at} {action}: no notice was wanted"),
        }
    }
}

/// What has become of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// Still to be tried.
    Remaining,
    /// Given up.
    Failed,
    /// Given up, and its sender was told, or did not want to be.
    Bounced,
    /// Delivered, as far as the record tells.
    Done,
    /// No attempt of this message has delivered to it, and none will: another message does since this one was divided, or a hook took
    /// care of it.
    Elsewhere,
}

/// A wait to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntervalPage {
    pub(crate) span_ms: u64,
    pub(crate) jitter_ms: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttemptPage {
    pub(crate) at: Timestamp,
    pub(crate) duration_ms: u64,
    pub(crate) peer: Option<NextHop>,
    pub(crate) tls: Option<String>,
    pub(crate) session: Option<FlowId>,
    /// `accepted`, `all_refused`, `refused`, `no_connection`, `broken`, `interrupted` or `panicked`.
    pub(crate) outcome: String,
    pub(crate) stage: Option<Stage>,
    pub(crate) code: Option<u16>,
    pub(crate) enhanced: Option<String>,
    pub(crate) text: String,
    /// Whether the peer may hold the message all the same.
    pub(crate) in_doubt: bool,
    pub(crate) refused: Vec<RefusedPage>,
}

/// A recipient that an attempt's peer refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedPage {
    pub(crate) address: String,
    pub(crate) code: u16,
    pub(crate) enhanced: Option<String>,
    pub(crate) text: String,
}

impl Page {
    /// The page of `message`, which is kept in `queue`.
    pub(crate) fn of(message: &Message, queue: Queue, status: ShownStatus, reason: Option<String>) -> Self {
        let state = &message.state;
        let shelved = matches!(queue, Queue::Removed | Queue::Quarantine);
        let retry = state.schedule.intervals.iter().map(|interval| IntervalPage {
            span_ms: millis(interval.span()),
            jitter_ms: millis(interval.jitter()),
        });
        Self {
            id: message.id,
            queue,
            status,
            reason: reason
                .or_else(|| spool_core::reason(state))
                .map(|reason| spool_core::harmless(&reason)),
            spooled_at: message.spooled_at,
            next_attempt: status.next_attempt().filter(|_| !shelved),
            expires_at: state.expires_at,
            in_flight: state.in_flight,
            size: message.body_size,
            sender: message.envelope.reverse_path.as_str().to_owned(),
            parameters: mail_parameters(message),
            recipients: recipients(message),
            next_hops: Arc::clone(&message.next_hops),
            next_hops_afterwards: None,
            route: message.origin,
            retry_intervals: retry.collect(),
            repeat_last: state.schedule.repeat_last,
            attempts: state
                .attempts
                .iter()
                .map(|attempt| AttemptPage::of(message, attempt))
                .collect(),
            attempts_left_out: state.attempts.left_out(),
            parent: message.parent,
            notices: NoticePage::of(message),
            unknown_submitter: state.notices.unknown_submitter,
            related: message.related.to_vec(),
            parts: Vec::new(),
            flows: message.flows.clone(),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn mail_parameters(message: &Message) -> Vec<String> {
    let given = &message.envelope.parameters;
    let flag = |set: bool, name: &str| set.then(|| name.to_owned());
    let ret = |ret: Ret| match ret {
        Ret::Full => "RET=FULL".to_owned(),
        Ret::Headers => "RET=HDRS".to_owned(),
    };
    [
        flag(given.body == BodyKind::EightBitMime, "BODY=8BITMIME"),
        flag(given.smtputf8, "SMTPUTF8"),
        flag(given.requiretls, "REQUIRETLS"),
        given.ret.map(ret),
        given
            .envid
            .as_ref()
            .map(|envid| format!("ENVID={}", spool_core::harmless(envid))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn recipient_parameters(recipient: &Recipient) -> Vec<String> {
    let notify = |notify: Notify| {
        let named = [
            (notify.success, "SUCCESS"),
            (notify.failure, "FAILURE"),
            (notify.delay, "DELAY"),
        ];
        let words: Vec<&str> = named
            .iter()
            .filter_map(|(set, word)| set.then_some(*word))
            .collect();
        match words.is_empty() {
            true => "NOTIFY=NEVER".to_owned(),
            false => format!("NOTIFY={}", words.join(",")),
        }
    };
    let orcpt = |orcpt: &String| format!("ORCPT={}", spool_core::harmless(orcpt));
    let notify = recipient.notify.map(notify);
    notify
        .into_iter()
        .chain(recipient.orcpt.as_ref().map(orcpt))
        .collect()
}

/// The recipients to whom no attempt has delivered, as far as the record tells.
enum Undelivered {
    All,
    /// Those whom every accepting attempt left out.
    These(HashSet<RecipientIndex>),
}

impl Undelivered {
    fn of(state: &MessageState) -> Self {
        if state.attempts.left_out() > 0 {
            // One of those that are not kept may have delivered to anybody.
            return Self::These(HashSet::new());
        }
        let accepted = |attempt: &&Attempt| matches!(attempt.report.result, AttemptResult::Accepted(_));
        let refused = |attempt: &Attempt| -> HashSet<RecipientIndex> {
            attempt
                .report
                .refused
                .iter()
                .map(|refused| refused.recipient)
                .collect()
        };
        let accepting = state.attempts.iter().filter(accepted).map(refused);
        let both = |one: HashSet<_>, other: HashSet<_>| one.intersection(&other).copied().collect();
        accepting.reduce(both).map_or(Self::All, Self::These)
    }

    fn contains(&self, index: RecipientIndex) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&index),
        }
    }
}

fn recipients(message: &Message) -> Vec<RecipientPage> {
    let state = &message.state;
    let failed = state.failed.iter().map(|failed| (failed.recipient, failed));
    let failed: HashMap<RecipientIndex, &FailedRecipient> = failed.collect();
    let remaining: HashSet<RecipientIndex> = state.remaining.iter().copied().collect();
    let undelivered = Undelivered::of(state);
    let page = |(index, recipient): (RecipientIndex, &Recipient)| {
        let failed = failed.get(&index).copied();
        let fate = match (failed, remaining.contains(&index)) {
            (Some(_), _) => Fate::Failed,
            (None, true) => Fate::Remaining,
            (None, false) if state.notices.of_failed(index).is_some() => Fate::Bounced,
            (None, false) if undelivered.contains(index) => Fate::Elsewhere,
            (None, false) => Fate::Done,
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
        let address = |index: RecipientIndex| {
            let recipient = message.envelope.recipients.get(usize::try_from(index).ok()?)?;
            Some(recipient.address.to_string())
        };
        let refused = report.refused.iter().map(|refused| RefusedPage {
            address: address(refused.recipient).unwrap_or_default(),
            code: refused.reply.code,
            enhanced: refused.reply.enhanced.map(|code| code.to_string()),
            text: refused.reply.text.clone(),
        });
        let (outcome, stage, reply, text) = told(&report.result);
        Self {
            at: attempt.at,
            duration_ms: attempt.duration_ms,
            peer: report.peer.clone(),
            tls: report.tls.as_deref().map(spool_core::harmless),
            session: report.session,
            outcome: outcome.to_owned(),
            stage,
            code: reply.map(|reply| reply.code),
            enhanced: reply.and_then(|reply| Some(reply.enhanced?.to_string())),
            text: reply.map_or_else(|| spool_core::harmless(text), |reply| reply.text.clone()),
            in_doubt: attempt.in_doubt(),
            refused: refused.collect(),
        }
    }
}

/// The outcome's name, where it happened, and in which words.
fn told(result: &AttemptResult) -> (&'static str, Option<Stage>, Option<&Reply>, &str) {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use spool_core::{
        AttemptReport, Envelope, RefusedRecipient, RetryInterval, RetryPolicy, ReversePath, Section, Status,
    };
    use std::time::Duration;

    /// A message with one recipient done, one failed and one remaining, after two attempts.
    pub(crate) fn message() -> Message {
        let to = ["done@x.example", "failed@x.example", "late@x.example"];
        let mut envelope = Envelope::of(
            ReversePath::parse("ada@example.org").unwrap(),
            to.map(|to| to.parse().unwrap()),
        );
        envelope.parameters.envid = Some("e-1".into());
        envelope.recipients[2].notify = Some(Notify {
            success: false,
            failure: true,
            delay: true,
        });
        let section = Section {
            envelope,
            next_hops: ["mx.example.net:25".parse().unwrap()].into(),
            origin: RouteOrigin::Configured,
            retry: RetryPolicy {
                intervals: vec![RetryInterval::with_jitter(Duration::from_secs(300), 0.2)],
                ..RetryPolicy::default()
            },
        };
        let now = Timestamp(1_795_491_552_042);
        let mut state = MessageState::new(&section, Status::SendAt(now.after(Duration::from_secs(90))), now);
        let reply = |text| Reply::new(550, text);
        state.remaining = vec![2];
        state.failed = vec![FailedRecipient {
            recipient: 1,
            reply: Some(reply("5.1.1 nobody\u{1b}[31m here")),
            reason: "refused".into(),
        }];
        let mut taken = AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "2.0.0 taken")));
        taken.peer = Some("mx.example.net:25".parse().unwrap());
        taken.tls = Some("TLSv1.3 TLS_AES_256_GCM_SHA384".into());
        taken.refused = vec![RefusedRecipient {
            recipient: 1,
            reply: reply("5.1.1 nobody"),
        }];
        let broken = AttemptReport::new(AttemptResult::Broken {
            stage: Stage::FinalReply,
            error: "timed out".into(),
            in_doubt: true,
        });
        let attempt = |at, report| Attempt {
            at,
            duration_ms: 1234,
            report,
        };
        state.attempts.push(attempt(now, taken));
        let later = now.after(Duration::from_secs(60));
        state.attempts.push(attempt(later, broken));
        Message {
            id: MessageId::from_u128(7),
            parent: None,
            related: vec![MessageId::from_u128(8)].into(),
            flows: vec![FlowId::from_u128(9)],
            spooled_at: now,
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: 2970,
            state,
        }
    }

    pub(crate) fn page() -> Page {
        let message = message();
        let status = ShownStatus::at(message.state.status, message.spooled_at);
        Page::of(&message, Queue::Active, status, None)
    }

    #[test]
    fn a_recipient_that_went_on_in_another_message_is_not_told_as_delivered() {
        let mut message = message();
        // The first attempt left the third one out, and then it went on in another message.
        message.state.remaining.clear();
        let (first, rest) = message.state.attempts.kept().split_first().unwrap();
        let (mut first, rest) = (first.clone(), rest.to_vec());
        first.report.refused.push(RefusedRecipient {
            recipient: 2,
            reply: Reply::new(450, "4.2.0 later"),
        });
        message.state.attempts = std::iter::once(first).chain(rest.clone()).collect();
        let fates = |message: &Message| -> Vec<Fate> {
            let page = recipients(message);
            page.iter().map(|recipient| recipient.fate).collect()
        };
        assert_eq!(fates(&message), [Fate::Done, Fate::Failed, Fate::Elsewhere]);
        // Nothing was ever accepted.
        message.state.attempts = rest.into_iter().collect();
        assert_eq!(fates(&message), [Fate::Elsewhere, Fate::Failed, Fate::Elsewhere]);
    }

    #[test]
    fn a_page_tells_the_fate_of_everyone_and_survives_json() {
        let page = page();
        let fates: Vec<Fate> = page.recipients.iter().map(|recipient| recipient.fate).collect();
        assert_eq!(fates, [Fate::Done, Fate::Failed, Fate::Remaining]);
        assert_eq!(page.recipients[2].parameters, ["NOTIFY=FAILURE,DELAY"]);
        assert_eq!(page.parameters, ["ENVID=e-1"]);
        assert_eq!(page.attempts[0].enhanced.as_deref(), Some("2.0.0"));
        assert_eq!(page.attempts[0].refused[0].address, "failed@x.example");
        assert!(page.attempts[1].in_doubt && page.attempts[1].stage == Some(Stage::FinalReply));
        let json = serde_json::to_string(&page).unwrap();
        assert!(!json.contains('\u{1b}') && json.contains("\"next_attempt\":\"2026-11-24T03:40:42.042Z\""));
        assert_eq!(serde_json::from_str::<Page>(&json).unwrap(), page);
    }

    #[test]
    fn what_lies_on_a_shelf_has_no_next_attempt() {
        let message = message();
        let status = ShownStatus::at(message.state.status, message.spooled_at);
        let page = Page::of(&message, Queue::Removed, status, Some("a\nb".into()));
        assert_eq!((page.next_attempt, page.reason.as_deref()), (None, Some("a\\nb")));
    }
}
