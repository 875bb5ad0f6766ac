//! The end of an attempt: what becomes of the message is decided purely, written down, and only then made known.

use super::SpoolActor;
use super::commit::Tag;
use super::content::Content;
use super::unattended::Why;
use crate::delivery::messages::AttemptEnded;
use actix::{AsyncContext, Context, Handler};
use spool_core::disposition::{Decisions, Fate, dispose};
use spool_core::log::{AttemptRecord, GivenUp, Record};
use spool_core::store::{Change, Finish};
use spool_core::{
    Attempt, AttemptReport, AttemptResult, Dice, EventKind, Frozen, FrozenReason, Message, MessageId,
    MessageState, SpreadDice, Status, Timestamp,
};
use std::sync::Arc;

impl Handler<AttemptEnded> for SpoolActor {
    type Result = ();

    fn handle(&mut self, ended: AttemptEnded, ctx: &mut Context<Self>) {
        let Some(content) = self.queue.ended(ended.id) else {
            return tracing::error!(id = %ended.id, "an attempt ended that was not running");
        };
        let envelope = &content.message.envelope;
        self.learn(ended.id, envelope, content.session, &ended.attempt.report);
        let Content { message, held, .. } = *content;
        // The body's memory is free; the rest is, once the disk has answered.
        self.queue.settling(ended.id, held);
        if matches!(ended.attempt.report.result, AttemptResult::NotBegun { .. }) {
            self.take_back(message, ended.attempt);
            return self.after_anything(ctx);
        }
        if self.asks_on_error(&ended.attempt) {
            self.ask_on_error(message, ended.attempt, ctx.address());
        } else {
            let decisions = Decisions::by_default(&ended.attempt.report);
            self.settle(message, ended.attempt, &decisions);
        }
        self.after_anything(ctx);
    }
}

impl SpoolActor {
    /// An attempt that was none: the message is the first in line again, as if it had not begun. One whose time is over is given up.
    fn take_back(&mut self, mut message: Message, attempt: Attempt) {
        let (id, now) = (message.id, self.now());
        let result = attempt.report.result;
        tracing::debug!(%id, flow = ?message.flows, "{result}");
        message.state.in_flight = None;
        if let Some(held) = self.asked_to_freeze(&mut message, now) {
            let fate = Fate::Delayed {
                until: now,
                rate_limited: false,
            };
            return self.conclude(message, fate, Some(held), Vec::new());
        }
        if self.queue.is_expired(id, now) {
            return self.give_up(message, &result.to_string());
        }
        self.write_back(id, message.spooled_at);
    }

    pub(super) fn settle(&mut self, mut message: Message, attempt: Attempt, decisions: &Decisions) {
        let now = self.now();
        let id = message.id;
        let clock_set = self.queue.take_clock_set(id);
        if let Some(end) = &mut message.state.expires_at {
            *end = end.shifted(clock_set);
        }
        let freeze = self.asked_to_freeze(&mut message, now);
        let mut hosts = attempt.report.before.iter();
        let in_doubt = attempt.in_doubt() || hosts.any(|host| host.report.in_doubt());
        let kinds = in_doubt.then_some(EventKind::InDoubt);
        let kinds: Vec<EventKind> = kinds.into_iter().collect();
        let record = Record::wanted().then(|| AttemptRecord::new(&message, &attempt));
        let before = message.state.clone();
        let (state, fate) = if first_interruption(&message, &attempt) {
            again_at_once(before, attempt, now)
        } else {
            dispose(before, attempt, decisions, now, &*self.dice_for(id, now))
        };
        if matches!(fate, Fate::Delayed { .. }) {
            self.queue.deferred(id, now);
        }
        message.state = state;
        if let Some(mut record) = record {
            record.settled(&message.state);
            Record::Attempt(record).emit();
        }
        self.conclude(message, fate, freeze, kinds);
    }

    /// Why the message is to be frozen at the end of its session, if somebody asked for it: in this process, or in the one before.
    fn asked_to_freeze(&self, message: &mut Message, now: Timestamp) -> Option<Box<Frozen>> {
        let before = message.state.frozen.take();
        let asked = self.queue.wants_freeze(message.id) || message.state.status == Status::Frozen;
        asked.then(|| before.unwrap_or_else(|| Box::new(Frozen::held(now, None))))
    }

    /// Many messages of one destination that are deferred together come back over a longer time.
    fn dice_for(&self, id: MessageId, now: Timestamp) -> Arc<dyn Dice> {
        if self.queue.is_crowded(id, now) {
            Arc::new(SpreadDice(Arc::clone(&self.dice)))
        } else {
            Arc::clone(&self.dice)
        }
    }

    /// Writes down what became of a message, whose state is the new one, and what is to be told of it beside `kinds`.
    pub(super) fn conclude(
        &mut self,
        mut message: Message,
        fate: Fate,
        freeze: Option<Box<Frozen>>,
        mut kinds: Vec<EventKind>,
    ) {
        let id = message.id;
        match fate {
            Fate::Delivered => kinds.push(EventKind::Delivered),
            Fate::Delayed { .. } if freeze.is_some() => kinds.push(EventKind::Frozen),
            Fate::Delayed {
                until,
                rate_limited: true,
            } => kinds.push(EventKind::DelayedRateLimited(until)),
            Fate::Delayed {
                until,
                rate_limited: false,
            } => kinds.push(EventKind::Delayed(until)),
            Fate::Failed { expired } => {
                kinds.extend(expired.then_some(EventKind::Expired));
                kinds.push(EventKind::Frozen);
            }
        }
        let why = match fate {
            Fate::Failed { expired: true } => Some(FrozenReason::Expired),
            Fate::Failed { expired: false } => Some(FrozenReason::failed(&message.state)),
            Fate::Delivered | Fate::Delayed { .. } => None,
        };
        let why = why.map(|why| Box::new(Frozen::new(self.now(), why)));
        if let Some(why) = why.as_ref().filter(|_| Record::wanted()) {
            Record::GivenUp(GivenUp::new(&message, why, "frozen")).emit();
        }
        if let Some(frozen) = why.or(freeze) {
            message.state.set_status(Status::Frozen, Some(frozen));
        }
        // The attempt has added to it.
        self.queue.weighed(id, message.footprint());
        let after = (fate != Fate::Delivered).then_some(message.state.status);
        let events = kinds.into_iter().map(|kind| self.tell(kind, &message)).collect();
        let change = match after {
            None => Change::Finish {
                id,
                how: Finish::Delivered,
                events,
            },
            Some(_) => Change::State {
                id,
                state: Box::new(message.state),
                events,
            },
        };
        self.commit(change, Tag::Settled { id, after }, false);
    }

    /// Attempts that a former process left open become attempts in doubt.
    pub(super) fn settle_interrupted(&mut self, ctx: &mut Context<Self>) {
        for id in std::mem::take(&mut self.interrupted) {
            self.queue.interrupted(id);
            self.unattended.extend([(id, Why::Interrupted)]);
        }
        self.settle_unattended(ctx);
    }

    pub(super) fn settle_one_interrupted(&mut self, message: Message) {
        let at = message.state.in_flight.unwrap_or(message.spooled_at);
        let mut report = AttemptReport::new(AttemptResult::Interrupted);
        let rerouted = self.rerouted.remove(&message.id);
        // With one next hop it is known who may hold the message, unless the message was given another one meanwhile.
        report.peer = match message.next_hops.as_ref() {
            [only] if !rerouted => Some(only.clone()),
            _ => None,
        };
        let attempt = Attempt {
            at,
            duration_ms: 0,
            report,
        };
        let decisions = Decisions::by_default(&attempt.report);
        self.settle(message, attempt, &decisions);
    }
}

/// The process ended, the message did nothing wrong: it goes on at once and no interval is taken. The second time in a
/// row it waits like any other, in case it was the message after all.
fn again_at_once(mut state: MessageState, attempt: Attempt, now: Timestamp) -> (MessageState, Fate) {
    state.in_flight = None;
    state.set_status(Status::SendAt(now), None);
    state.attempts.push(attempt);
    let rate_limited = false;
    (
        state,
        Fate::Delayed {
            until: now,
            rate_limited,
        },
    )
}

fn first_interruption(message: &Message, attempt: &Attempt) -> bool {
    let interrupted = |attempt: &Attempt| matches!(attempt.report.result, AttemptResult::Interrupted);
    interrupted(attempt) && !message.state.attempts.last().is_some_and(interrupted)
}
