//! The end of a round: one change sets the new state of the message and adds the notice to its sender.
//!
//! Which recipients a notice is about, and its text, are decided and written by `spool_core::bounce`. The notice is part of the change that
//! ends those recipients, so that a crash leaves both or neither. It is not kept in memory: it is read again when it is sent.

use super::add::spooled;
use super::notice::NewNotice;
use super::round::Round;
use super::tag::{Tag, ToCommit};
use super::{Effect, Engine, World};
use bytes::Bytes;
use spool_core::bounce::{Decision, NoticeConfig, OnFailure, ReturnLimit, Unreturned, decide, settle};
use spool_core::disposition::Fate;
use spool_core::log::{GivenUp, Record};
use spool_core::store::{Addition, Change, Conclusion, Finish, NewMessage, Outcome};
use spool_core::{
    Event, EventKind, Frozen, FrozenReason, Message, MessageId, MessageState, Status, Timestamp,
};

/// How notices are returned, and how many were.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(super) config: Option<NoticeConfig>,
    limit: ReturnLimit,
    /// Notices spooled since the start.
    pub(crate) count: u64,
}

impl Returning {
    pub(super) fn new(config: Option<NoticeConfig>) -> Self {
        let per_hour = config.as_ref().map_or(0, |config| config.per_hour);
        Self {
            config,
            limit: ReturnLimit::new(per_hour),
            count: 0,
        }
    }

    pub(super) fn set(&mut self, config: Option<NoticeConfig>) {
        self.limit
            .set(config.as_ref().map_or(0, |config| config.per_hour));
        self.config = config;
    }

    /// Whether notices are returned, so that the bodies of messages that end are needed.
    pub(crate) const fn is_on(&self) -> bool {
        self.config.is_some()
    }
}

/// Why a message is frozen that has failed.
fn failure(expired: bool, state: &MessageState) -> FrozenReason {
    match expired {
        true => FrozenReason::Expired,
        false => FrozenReason::failed(state),
    }
}

/// The log record of a message that has failed; `None`: it has not failed.
fn given_up(round: &Round, now: Timestamp) -> Option<GivenUp> {
    let Fate::Failed { expired } = round.fate else {
        return None;
    };
    let why = || Frozen::new(now, failure(expired, &round.message.state));
    Record::wanted().then(|| GivenUp::new(&round.message, &why(), ""))
}

impl<W: World> Engine<W> {
    /// Ends a round: decides what is reported of it, and commits the change.
    pub(super) fn conclude(&mut self, round: Round) {
        let decision = self.decide_notice(&round);
        self.conclude_by(round, decision);
    }

    /// Ends a round whose notice found no room on the disk. The end of an attempt must not wait for that: the message would be sent again
    /// after a restart. Failed recipients stay with the message, frozen.
    pub(super) fn conclude_without_notice(&mut self, notice: NewNotice) {
        self.notice_answered(&notice, false);
        let (round, decision) = *notice.without;
        tracing::warn!(id = %round.message.id, flow = ?round.message.flows, "no room for a notice: it is not returned");
        self.conclude_by(round, decision);
    }

    fn conclude_by(&mut self, round: Round, decision: Decision) {
        let delivered = round.fate == Fate::Delivered;
        let (change, notice) = self.end_of_round(round, decision);
        let tag = Tag::Settled { delivered, notice };
        self.commit_signed(change, tag, false);
    }

    /// Makes the change that ends a round; with the notice in it.
    pub(super) fn end_of_round(
        &mut self,
        mut round: Round,
        decision: Decision,
    ) -> (Change, Option<Box<NewNotice>>) {
        let now = self.now.wall;
        let nth = u64::try_from(round.message.state.notices.given.len()).unwrap_or(u64::MAX);
        let id = decision
            .has_notice()
            .then(|| self.ids.notice(round.message.id, nth, now));
        let notice = id.and_then(|id| self.write_notice(&round, &decision, id, now));
        // Before `settle`: it removes the failed recipients that the notice reports from the message.
        let given_up = given_up(&round, now);
        settle(&mut round.message.state, &decision, id, now);
        let Round {
            mut message,
            fate,
            freeze,
            freeze_told,
            mut kinds,
            ..
        } = round;
        kinds.extend((fate == Fate::Failed { expired: true }).then_some(EventKind::Expired));
        told(&mut kinds, &decision, id);
        let after = self.status_after(&mut message, fate, (freeze, freeze_told), &decision, &mut kinds);
        if let Some(given_up) = given_up {
            let then = match (after, id) {
                (Some(_), _) => "frozen",
                (None, Some(_)) => "bounced",
                (None, None) => "finished",
            };
            Record::GivenUp(given_up.then(then, message.state.frozen.as_deref())).emit();
        }
        let built = notice.as_ref().map_or(0, |(_, body, _)| body.len());
        let built = u64::try_from(built).unwrap_or(u64::MAX);
        // The attempt has added to it.
        self.queue.weighed(message.id, message.footprint(), built);
        let events = kinds.into_iter().map(|kind| self.tell(kind, &message)).collect();
        match notice {
            None => (end_without_notice(message, after, events), None),
            Some((new, body, notice)) => {
                let change = end_with_notice(message, after, events, (new, body), now);
                (change, Some(Box::new(notice)))
            }
        }
    }

    /// Decides which recipients of a round are reported to the sender.
    pub(super) fn decide_notice(&mut self, round: &Round) -> Decision {
        let now = self.now.wall;
        let Some(config) = self.returning.config.as_ref().filter(|_| round.tells) else {
            return Decision::default();
        };
        let message = &round.message;
        if round.by_hand {
            let mut known = message.clone();
            known.state.notices.unknown_submitter = false;
            return decide(&known, &[], OnFailure::Bounce, None, now);
        }
        let (on_failure, late_after) = match round.freeze {
            // A person holds it: it is neither given up nor late.
            Some(_) => (OnFailure::Freeze, None),
            None => (config.on_failure, config.delay_warning_after),
        };
        let decision = decide(message, &round.relayed, on_failure, late_after, now);
        let failures = !decision.failed.is_empty();
        if decision.has_notice() && !self.returning.limit.take(message, failures, now) {
            tracing::warn!(id = %message.id, flow = ?message.flows, "its reverse-path gets no more notices in this hour");
            return decision.without_notice(Unreturned::TooMany);
        }
        decision
    }

    /// Sets the status of a message after its round, and returns it; `None` when the message ends.
    fn status_after(
        &self,
        message: &mut Message,
        fate: Fate,
        (freeze, freeze_told): (Option<Box<Frozen>>, bool),
        decision: &Decision,
        kinds: &mut Vec<EventKind>,
    ) -> Option<Status> {
        let mut frozen = freeze;
        match fate {
            Fate::Delivered => {
                kinds.push(EventKind::Delivered);
                return None;
            }
            Fate::Delayed { .. } if frozen.is_some() => {
                kinds.extend((!freeze_told).then_some(EventKind::Frozen));
            }
            Fate::Delayed {
                until,
                rate_limited: true,
            } => kinds.push(EventKind::DelayedRateLimited(until)),
            Fate::Delayed {
                until,
                rate_limited: false,
            } => kinds.push(EventKind::Delayed(until)),
            Fate::Failed { expired } => {
                if message.state.failed.is_empty() {
                    return None;
                }
                kinds.push(EventKind::Frozen);
                let failure = failure(expired, &message.state);
                let why = match decision.unreturned {
                    Some(why) => FrozenReason::Unreturned {
                        failure: Box::new(failure),
                        why,
                    },
                    None => failure,
                };
                frozen = Some(Box::new(Frozen::new(self.now.wall, why)));
            }
        }
        if frozen.is_some() {
            message.state.set_status(Status::Frozen, frozen);
        }
        Some(message.state.status)
    }

    /// Commits a change; one with a notice once that is signed. It counts as pending from now on, so that a shutdown waits for it.
    pub(super) fn commit_signed(&mut self, change: Change, mut tag: Tag<W>, urgent: bool) {
        if !(self.signs && tag.has_notice() && matches!(change, Change::Add(_))) {
            return self.commit(change, tag, urgent);
        }
        self.pending += 1;
        self.effects.push(Effect::Sign(ToCommit { change, tag, urgent }));
    }
}

/// The end of a round of which the sender gets no notice.
fn end_without_notice(message: Message, after: Option<Status>, events: Vec<Event>) -> Change {
    let id = message.id;
    match outcome(message.state, after) {
        Outcome::Finish(how) => Change::Finish { id, how, events },
        Outcome::State(state) => Change::State { id, state, events },
    }
}

/// The add of a notice, which ends the round of `message` as well.
fn end_with_notice(
    message: Message,
    after: Option<Status>,
    mut events: Vec<Event>,
    (new, body): (NewMessage, Bytes),
    now: Timestamp,
) -> Change {
    let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
    events.insert(0, spooled(&new, &message.flows, size, now));
    Change::Add(Addition {
        messages: vec![new],
        body,
        flows: message.flows,
        parent: Some(message.id),
        related: Vec::new(),
        spooled_at: now,
        key: None,
        conclusion: Some(Conclusion {
            id: message.id,
            outcome: outcome(message.state, after),
        }),
        events,
    })
}

fn outcome(state: MessageState, after: Option<Status>) -> Outcome {
    match after {
        None => Outcome::Finish(Finish::Delivered),
        Some(_) => Outcome::State(Box::new(state)),
    }
}

/// The events of a decision.
fn told(kinds: &mut Vec<EventKind>, decision: &Decision, id: Option<MessageId>) {
    if !decision.failed.is_empty() {
        kinds.push(EventKind::Bounced);
    }
    let about = decision
        .actions()
        .into_iter()
        .filter(|(_, recipients)| !recipients.is_empty());
    kinds.extend(about.map(|(action, _)| EventKind::Notice { action, id }));
    if !decision.unwanted.is_empty() {
        let action = spool_core::bounce::Action::Failed;
        kinds.push(EventKind::Notice { action, id: None });
    }
}
