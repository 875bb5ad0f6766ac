//! Which recipients a notice is about after an attempt, and what happens to those that failed. Pure: RFC 3461 sections
//! 4.1 and 5.2 as a table.

use super::record::{Action, Notice};
use super::unreturned::Unreturned;
use crate::attempt::RecipientIndex;
use crate::clock::Timestamp;
use crate::envelope::Notify;
use crate::id::MessageId;
use crate::message::{Message, MessageState, Status};
use std::collections::HashSet;
use std::time::Duration;

/// What happens to failed recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// A notice is returned to the reverse-path, and the message ends.
    Bounce,
    /// The message is frozen.
    #[default]
    Freeze,
}

/// What a notice reports after an attempt. Every failed recipient is in `failed` or `unwanted`, or stays with the
/// message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Failed, and reported.
    pub failed: Vec<RecipientIndex>,
    /// Failed, and no notice is wanted.
    pub unwanted: Vec<RecipientIndex>,
    /// Late, and reported.
    pub delayed: Vec<RecipientIndex>,
    /// Whether the message has become late now, which is reported once.
    pub is_late: bool,
    /// Accepted by a next hop that sends no notices, and reported.
    pub relayed: Vec<RecipientIndex>,
    /// Why failed recipients stay with the message although failures are to be returned.
    pub unreturned: Option<Unreturned>,
}

impl Decision {
    /// Whether a notice is to be returned.
    #[must_use]
    pub fn has_notice(&self) -> bool {
        !(self.failed.is_empty() && self.delayed.is_empty() && self.relayed.is_empty())
    }

    /// The recipients that the notice is about, with their actions: failures first.
    #[must_use]
    pub fn actions(&self) -> [(Action, &[RecipientIndex]); 3] {
        [
            (Action::Failed, &self.failed),
            (Action::Delayed, &self.delayed),
            (Action::Relayed, &self.relayed),
        ]
    }

    /// The decision when no notice can be returned, for this reason: failed recipients stay, and nothing is reported.
    #[must_use]
    pub fn without_notice(self, why: Unreturned) -> Self {
        let kept = !self.failed.is_empty();
        Self {
            failed: Vec::new(),
            delayed: Vec::new(),
            relayed: Vec::new(),
            unreturned: kept.then_some(why).or(self.unreturned),
            ..self
        }
    }
}

/// What a notice reports about `message`, whose state is that after the attempt, at `now`. `relayed`: recipients that
/// asked for SUCCESS and were accepted in this attempt by a next hop without DSN. `late_after`: the time after which the
/// submitter is notified, once, that the message is late.
#[must_use]
pub fn decide(
    message: &Message,
    relayed: &[RecipientIndex],
    on_failure: OnFailure,
    late_after: Option<Duration>,
    now: Timestamp,
) -> Decision {
    let (state, envelope) = (&message.state, &message.envelope);
    let null = envelope.reverse_path.is_null();
    let may_tell = !null && !state.notices.unknown_submitter;
    let wants = |index: RecipientIndex, what: fn(Option<Notify>) -> bool| {
        envelope
            .recipient(index)
            .is_some_and(|recipient| what(recipient.notify))
    };
    let mut decision = Decision::default();
    if on_failure == OnFailure::Bounce && !state.failed.is_empty() {
        if null {
            decision.unreturned = Some(Unreturned::NullReversePath);
        } else {
            let failed = state.failed.iter().map(|failed| failed.recipient);
            // Without NOTIFY, an MTA sends notices of failure and delay (RFC 3461 section 4.1).
            let of_failure = |notify: Option<Notify>| notify.is_none_or(|notify| notify.failure);
            let (wanted, unwanted) = failed.partition(|index| wants(*index, of_failure));
            (decision.failed, decision.unwanted) = (wanted, unwanted);
        }
        if !may_tell && !decision.failed.is_empty() {
            decision.failed.clear();
            decision.unreturned = Some(Unreturned::UnknownSubmitter);
        }
    }
    if !may_tell {
        return decision;
    }
    let success =
        |index: &RecipientIndex| wants(*index, |notify| notify.is_some_and(|notify| notify.success));
    decision.relayed = relayed.iter().copied().filter(success).collect();
    let late = |after: Duration| message.spooled_at.after(after) <= now;
    let waits = matches!(state.status, Status::SendAt(_)) && !state.remaining.is_empty();
    if waits && late_after.is_some_and(late) && !state.notices.told_of_delay() {
        let delay = |index: &RecipientIndex| wants(*index, |notify| notify.is_none_or(|notify| notify.delay));
        decision.delayed = state.remaining.iter().copied().filter(delay).collect();
        decision.is_late = true;
    }
    decision
}

/// Records a decision in the state of its message: failed recipients that are reported, or for which no notice is
/// wanted, are done. `id`: the message with the notice.
pub fn settle(state: &mut MessageState, decision: &Decision, id: Option<MessageId>, now: Timestamp) {
    let done: HashSet<_> = decision.failed.iter().chain(&decision.unwanted).collect();
    state.failed.retain(|failed| !done.contains(&failed.recipient));
    let mut give = |action, recipients: &[RecipientIndex], id| {
        state.notices.given.push(Notice {
            at: now,
            action,
            recipients: recipients.to_vec(),
            id,
        });
    };
    for (action, recipients) in decision.actions() {
        if !recipients.is_empty() {
            give(action, recipients, id);
        }
    }
    if !decision.unwanted.is_empty() {
        give(Action::Failed, &decision.unwanted, None);
    }
    if decision.is_late && decision.delayed.is_empty() {
        give(Action::Delayed, &[], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Envelope, ReversePath};
    use crate::message::{FailedRecipient, RouteOrigin, Section};
    use crate::related::Related;
    use crate::retry::RetryPolicy;
    use std::sync::Arc;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Timestamp = Timestamp(3_600_000);
    const TERMS: (OnFailure, Option<Duration>) = (OnFailure::Bounce, Some(HOUR));

    /// NOTIFY as RCPT has it; the empty text is none.
    fn notify(text: &str) -> Option<Notify> {
        let has = |word| text.contains(word);
        (!text.is_empty()).then(|| Notify {
            success: has("SUCCESS"),
            failure: has("FAILURE"),
            delay: has("DELAY"),
        })
    }

    /// A message with one recipient that failed (0), one that waits (1), and one that was taken by a hop without DSN (2).
    fn message(notify: Option<Notify>) -> Message {
        let to = ["failed@x", "late@x", "taken@x"].map(|to| to.parse().unwrap());
        let mut envelope = Envelope::of(ReversePath::parse("s@x").unwrap(), to);
        for recipient in &mut envelope.recipients {
            recipient.notify = notify;
        }
        let section = Section {
            envelope,
            next_hops: ["h:25".parse().unwrap()].into(),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        };
        let mut state = MessageState::new(&section, Status::SendAt(NOW), Timestamp(0));
        state.remaining = vec![1];
        state.failed = vec![FailedRecipient {
            recipient: 0,
            reply: None,
            reason: "no".to_owned(),
        }];
        Message {
            id: MessageId::from_u128(1),
            parent: None,
            related: Related::from(vec![]),
            flows: vec![],
            spooled_at: Timestamp(0),
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: 0,
            state,
        }
    }

    fn told(
        message: &Message,
        terms: (OnFailure, Option<Duration>),
        now: Timestamp,
    ) -> (Decision, [bool; 3]) {
        let decision = decide(message, &[2], terms.0, terms.1, now);
        let any = decision.actions().map(|(_, recipients)| !recipients.is_empty());
        (decision, any)
    }

    #[test]
    fn every_cell_of_the_table() {
        for (text, failed, delayed, relayed) in [
            ("", true, true, false),
            ("NEVER", false, false, false),
            ("FAILURE", true, false, false),
            ("DELAY", false, true, false),
            ("SUCCESS", false, false, true),
            ("SUCCESS,FAILURE", true, false, true),
            ("FAILURE,DELAY", true, true, false),
            ("SUCCESS,DELAY", false, true, true),
            ("SUCCESS,FAILURE,DELAY", true, true, true),
        ] {
            let message = message(notify(text));
            let (decision, any) = told(&message, TERMS, NOW);
            assert_eq!(any, [failed, delayed, relayed], "{text}");
            // A notice covers each failed recipient, or its NOTIFY asks for none.
            let unwanted: &[u32] = if failed { &[] } else { &[0] };
            assert_eq!(
                (decision.unwanted.as_slice(), decision.unreturned),
                (unwanted, None),
                "{text}"
            );
            let mut state = message.state.clone();
            settle(&mut state, &decision, Some(MessageId::from_u128(2)), NOW);
            assert!(state.failed.is_empty() && state.notices.told_of_delay(), "{text}");
            assert_eq!(state.notices.of_failed(0).unwrap().id.is_some(), failed, "{text}");
        }
    }

    #[test]
    fn a_message_is_late_once_and_only_after_its_time() {
        let mut message = message(None);
        assert_eq!(
            told(&message, TERMS, Timestamp(NOW.0 - 1)).1,
            [true, false, false]
        );
        assert_eq!(
            told(&message, (OnFailure::Bounce, None), NOW).1,
            [true, false, false]
        );
        let (decision, any) = told(&message, TERMS, NOW);
        assert_eq!(any, [true, true, false]);
        settle(&mut message.state, &decision, None, NOW);
        assert_eq!(told(&message, TERMS, NOW).1, [false, false, false]);
        let mut frozen = self::message(None);
        frozen.state.set_status(Status::Frozen, None);
        assert_eq!(
            told(&frozen, TERMS, NOW).1,
            [true, false, false],
            "a person holds it"
        );
    }

    #[test]
    fn a_null_reverse_path_gets_no_notice_whatever_notify_says() {
        for text in ["", "NEVER", "SUCCESS,FAILURE,DELAY"] {
            let mut message = message(notify(text));
            Arc::make_mut(&mut message.envelope).reverse_path = ReversePath::Null;
            let (decision, any) = told(&message, TERMS, NOW);
            assert_eq!(
                (any, decision.unreturned),
                ([false; 3], Some(Unreturned::NullReversePath)),
                "{text}"
            );
            settle(&mut message.state, &decision, None, NOW);
            assert_eq!(message.state.failed.len(), 1);
        }
    }

    #[test]
    fn an_unknown_submitter_gets_no_notice() {
        for (text, kept) in [
            ("", true),
            ("FAILURE", true),
            ("NEVER", false),
            ("SUCCESS,DELAY", false),
        ] {
            let mut message = message(notify(text));
            message.state.notices.unknown_submitter = true;
            let (decision, any) = told(&message, TERMS, NOW);
            assert_eq!(any, [false; 3], "{text}");
            assert_eq!(
                decision.unreturned,
                kept.then_some(Unreturned::UnknownSubmitter),
                "{text}"
            );
            settle(&mut message.state, &decision, None, NOW);
            assert_eq!(message.state.failed.len(), usize::from(kept), "{text}");
        }
    }

    #[test]
    fn with_freeze_failures_are_kept_and_delays_reported() {
        let mut message = message(notify("SUCCESS,FAILURE,DELAY"));
        let (decision, any) = told(&message, (OnFailure::Freeze, Some(HOUR)), NOW);
        assert_eq!((any, decision.unreturned), ([false, true, true], None));
        settle(&mut message.state, &decision, None, NOW);
        assert_eq!(message.state.failed.len(), 1);
    }

    #[test]
    fn beyond_the_limit_failures_are_kept_without_a_notice() {
        let mut message = message(notify("SUCCESS,FAILURE,DELAY"));
        let decision = told(&message, TERMS, NOW).0.without_notice(Unreturned::TooMany);
        assert!(!decision.has_notice() && decision.unreturned == Some(Unreturned::TooMany));
        settle(&mut message.state, &decision, None, NOW);
        assert_eq!(
            (message.state.failed.len(), message.state.notices.told_of_delay()),
            (1, true)
        );
    }
}
