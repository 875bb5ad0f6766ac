//! The end of a round: what becomes of a message, and what its sender is told of it, in one change.
//!
//! Which recipients a notice is about, and its text, are decided and written by `spool_core::bounce`. The notice is part of the change that
//! ends those recipients, so that a crash leaves both or neither. It is not kept in memory: it is read again when it is sent.

use super::add::spooled;
use super::content::Size;
use super::queue::Known;
use super::{Engine, Tag, World};
use bytes::Bytes;
use spool_core::bounce::{
    Decision, NoticeConfig, OnFailure, Report, ReturnLimit, Returned, Terms, Unreturned, build, decide,
    settle,
};
use spool_core::disposition::Fate;
use spool_core::log::{GivenUp, Record};
use spool_core::store::{Addition, Change, Conclusion, Finish, NewMessage, Outcome};
use spool_core::{
    Envelope, EventKind, Frozen, FrozenReason, Message, MessageId, NextHop, RecipientIndex, RouteOrigin,
    Routing, Section, Status, Timestamp,
};
use std::sync::Arc;

/// How notices are returned, and how many were.
#[derive(Debug)]
pub(super) struct Returning {
    config: Option<NoticeConfig>,
    limit: ReturnLimit,
    /// Notices spooled since the start.
    pub(super) count: u64,
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
    pub(super) const fn is_on(&self) -> bool {
        self.config.is_some()
    }
}

/// A message at the end of a round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// Its state is the new one.
    pub(super) message: Message,
    /// Empty where no notice can be due.
    pub(super) body: Bytes,
    pub(super) fate: Fate,
    /// Why it is to be frozen, if somebody asked for that.
    pub(super) freeze: Option<Box<Frozen>>,
    /// What is to be told beside what follows from the fate.
    pub(super) kinds: Vec<EventKind>,
    /// Recipients that asked for SUCCESS and were taken by a hop without DSN.
    pub(super) relayed: Vec<RecipientIndex>,
    /// A person wants a notice: only the null reverse-path forbids it.
    pub(super) by_hand: bool,
    /// Whether a notice may come of it. `false`: another round follows at once, and that one tells.
    pub(super) tells: bool,
}

/// What is to be written of a round, and what follows once it is.
pub(super) struct Concluded {
    pub(super) change: Change,
    /// What the message waits for now; `None`: it ends.
    pub(super) after: Option<Status>,
    /// The notice in the change.
    pub(super) notice: Option<Box<NewNotice>>,
}

/// A notice that is spooled with the change it is part of.
#[derive(Debug)]
pub(crate) struct NewNotice {
    known: Known,
    /// The routing that its line is from.
    generation: u32,
    /// The round, and what is decided of it when there is no room for the notice.
    without: Box<(Round, Decision)>,
}

impl NewNotice {
    /// Its body has so many bytes.
    pub(super) fn resize(&mut self, body: u64) {
        self.known.size = self.known.size.with_body(body);
    }
}

/// The line of the log about a message on which the spool gives up; `None`: it does not.
fn given_up(round: &Round, now: Timestamp) -> Option<GivenUp> {
    let Fate::Failed { expired } = round.fate else {
        return None;
    };
    let why = || match expired {
        true => FrozenReason::Expired,
        false => FrozenReason::failed(&round.message.state),
    };
    Record::wanted().then(|| GivenUp::new(&round.message, &Frozen::new(now, why()), ""))
}

impl<W: World> Engine<W> {
    /// Decides what is told of a round, and makes the change that says so.
    pub(super) fn end_of_round(&mut self, round: Round) -> Concluded {
        let now = self.now.wall;
        let decision = self.decide_notice(&round, now);
        self.end_of_round_by(round, decision, now)
    }

    /// Writes down a round whose notice found no room on the disk. The end of an attempt must not wait for that: the message would be
    /// sent again after a restart. Failed recipients stay with the message, frozen.
    pub(super) fn conclude_without_notice(&mut self, notice: NewNotice) {
        self.notice_not_spooled(&notice);
        let (round, decision) = *notice.without;
        tracing::warn!(id = %round.message.id, flow = ?round.message.flows, "no room for a notice: it is not returned");
        let (id, delivered, now) = (round.message.id, round.fate == Fate::Delivered, self.now.wall);
        let Concluded {
            change,
            after,
            notice,
        } = self.end_of_round_by(round, decision, now);
        let tag = Tag::Settled {
            id,
            after,
            delivered,
            notice,
        };
        self.commit(change, tag, false);
    }

    fn end_of_round_by(&mut self, mut round: Round, decision: Decision, now: Timestamp) -> Concluded {
        let nth = u64::try_from(round.message.state.notices.given.len()).unwrap_or(u64::MAX);
        let id = decision
            .has_notice()
            .then(|| self.ids.notice(round.message.id, nth, now));
        let notice = id.and_then(|id| self.write_notice(&round, &decision, id, now));
        // With the recipients that failed: once the sender is told of them, they are settled.
        let given_up = given_up(&round, now);
        settle(&mut round.message.state, &decision, id, now);
        let Round {
            mut message,
            fate,
            freeze,
            mut kinds,
            ..
        } = round;
        kinds.extend((fate == Fate::Failed { expired: true }).then_some(EventKind::Expired));
        told(&mut kinds, &decision, id);
        let after = self.status_after(&mut message, fate, freeze, &decision, &mut kinds);
        if let Some(given_up) = given_up {
            let then = match (after, id) {
                (Some(_), _) => "frozen",
                (None, Some(_)) => "bounced",
                (None, None) => "finished",
            };
            Record::GivenUp(given_up.then(then, message.state.frozen.as_deref())).emit();
        }
        // The attempt has added to it.
        self.queue.weighed(message.id, message.footprint());
        let built = notice.as_ref().map_or(0, |(_, body, _)| body.len());
        self.queue
            .written_with(message.id, u64::try_from(built).unwrap_or(u64::MAX));
        let events: Vec<_> = kinds.into_iter().map(|kind| self.tell(kind, &message)).collect();
        let message_id = message.id;
        let Some((new, body, notice)) = notice else {
            let state = Box::new(message.state);
            let change = match after {
                None => Change::Finish {
                    id: message_id,
                    how: Finish::Delivered,
                    events,
                },
                Some(_) => Change::State {
                    id: message_id,
                    state,
                    events,
                },
            };
            return Concluded {
                change,
                after,
                notice: None,
            };
        };
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let first = spooled(&new, &message.flows, size, now);
        let outcome = match after {
            None => Outcome::Finish(Finish::Delivered),
            Some(_) => Outcome::State(Box::new(message.state)),
        };
        let change = Change::Add(Addition {
            messages: vec![new],
            body,
            flows: message.flows,
            parent: Some(message_id),
            related: Vec::new(),
            spooled_at: now,
            key: None,
            conclusion: Some(Conclusion {
                id: message_id,
                outcome,
            }),
            events: std::iter::once(first).chain(events).collect(),
        });
        Concluded {
            change,
            after,
            notice: Some(Box::new(notice)),
        }
    }

    fn decide_notice(&mut self, round: &Round, now: Timestamp) -> Decision {
        let Some(config) = self.returning.config.as_ref().filter(|_| round.tells) else {
            return Decision::default();
        };
        let message = &round.message;
        if round.by_hand {
            let mut known = message.clone();
            known.state.notices.unknown_submitter = false;
            let terms = Terms::new(OnFailure::Bounce, None);
            return decide(&known, &[], &terms, now);
        }
        let mut terms = config.terms();
        if round.freeze.is_some() {
            // A person holds it: it is neither given up nor late.
            terms = Terms::new(OnFailure::Freeze, None);
        }
        let decision = decide(message, &round.relayed, &terms, now);
        let failures = !decision.failed.is_empty();
        if decision.has_notice() && !self.returning.limit.take(message, failures, now) {
            tracing::warn!(id = %message.id, flow = ?message.flows, "its reverse-path gets no more notices in this hour");
            return decision.without_notice(Unreturned::TooMany);
        }
        decision
    }

    /// The notice itself, and the line it will stand in. `None` where there is nobody to return it to.
    fn write_notice(
        &mut self,
        round: &Round,
        decision: &Decision,
        id: MessageId,
        now: Timestamp,
    ) -> Option<(NewMessage, Bytes, NewNotice)> {
        let config = self.returning.config.as_ref()?;
        let report = Report::new(&round.message, decision, &round.body, round.by_hand);
        let returned = Returned {
            id,
            at: now,
            host: &config.host,
            from: &config.from,
            size_limit: config.size_limit,
        };
        let (envelope, text) = build(&report, &returned)?;
        let retry = config.retry.clone();
        let (origin, next_hops) = self.route_of_notice(&envelope, &round.message);
        let body = Bytes::from(text);
        let section = Section {
            envelope,
            next_hops,
            origin,
            retry,
        };
        let notice = NewNotice {
            known: Known {
                id,
                spooled_at: now,
                size: Size::new(u64::try_from(body.len()).unwrap_or(u64::MAX), section.footprint()),
                expires_at: section.retry.expire_after.map(|span| now.after(span)),
                origin,
                destination: self.queue.enlist(&section.next_hops),
            },
            generation: self.queue.generation(),
            without: Box::new((
                Round {
                    body: Bytes::new(),
                    ..round.clone()
                },
                decision.clone().without_notice(Unreturned::NoRoom),
            )),
        };
        let new = NewMessage {
            id,
            section,
            status: Status::SendAt(now),
            frozen: None,
            in_flight: None,
            state: None,
        };
        tracing::info!(
            id = %round.message.id, flow = ?round.message.flows, notice = %id, failed = decision.failed.len(),
            delayed = decision.delayed.len(), relayed = decision.relayed.len(), "a notice is returned"
        );
        Some((new, body, notice))
    }

    /// Where a notice goes: by the routing of now; without rules, to the next hops of the message it is about.
    fn route_of_notice(&self, envelope: &Envelope, message: &Message) -> (RouteOrigin, Arc<[NextHop]>) {
        let routing = self.queue.routing();
        let (origin, spooled) = match routing {
            Routing::ByRules(_) => (RouteOrigin::Configured, Arc::from([])),
            Routing::ToBuiltInSink(sink) => (RouteOrigin::BuiltInSink, Arc::clone(sink)),
            Routing::AsSpooled | _ => (RouteOrigin::Named, Arc::clone(&message.next_hops)),
        };
        let groups = routing.groups(origin, &spooled, envelope, &[0]);
        let first = groups.into_iter().next();
        (origin, first.map_or(spooled, |group| group.next_hops))
    }

    /// Sets the status of a message whose notices are settled; gives what it waits for, `None` when it ends.
    fn status_after(
        &self,
        message: &mut Message,
        fate: Fate,
        freeze: Option<Box<Frozen>>,
        decision: &Decision,
        kinds: &mut Vec<EventKind>,
    ) -> Option<Status> {
        let mut frozen = freeze;
        match fate {
            Fate::Delivered => {
                kinds.push(EventKind::Delivered);
                return None;
            }
            Fate::Delayed { .. } if frozen.is_some() => kinds.push(EventKind::Frozen),
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
                let failure = match expired {
                    true => FrozenReason::Expired,
                    false => FrozenReason::failed(&message.state),
                };
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

    /// The disk holds a notice: it lines up.
    pub(super) fn notice_spooled(&mut self, notice: &NewNotice) {
        let NewNotice {
            known, generation, ..
        } = notice;
        self.returning.count += 1;
        self.queue.back(*known, self.now);
        if *generation != self.queue.generation() {
            self.queue.make_stale(known.id);
        }
        self.give_back(known.id, Status::SendAt(known.spooled_at));
    }

    /// Commits a change; one with a notice once that is signed. It counts as pending from now on, so that a shutdown waits for it.
    pub(super) fn commit_signed(&mut self, change: Change, tag: Tag<W>, urgent: bool) {
        if !(self.signs && tag.has_notice() && matches!(change, Change::Add(_))) {
            return self.commit(change, tag, urgent);
        }
        self.pending += 1;
        self.effects.push(super::Effect::Sign { change, tag, urgent });
    }

    /// The notice will not come.
    pub(super) fn notice_not_spooled(&mut self, notice: &NewNotice) {
        self.queue.delist(notice.known.destination);
    }
}

/// What subscribers are told of a decision.
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
