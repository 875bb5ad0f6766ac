//! The end of an attempt: the result is decided, written, and only then published.

use super::queue::Refusal;
use super::round::Round;
use super::unwritten::NO_ROOM_PAUSE;
use super::work::Work;
use super::{AskedAttempt, Content, Effect, Engine, World};
use bytes::Bytes;
use spool_core::disposition::{Decisions, Fate, dispose};
use spool_core::log::{AttemptRecord, Record};
use spool_core::{
    Attempt, AttemptReport, AttemptResult, Dice, EventKind, Frozen, Message, MessageId, MessageState,
    SpreadDice, Status, Timestamp,
};
use std::sync::Arc;

/// A difference between the wall clock and the inside clock, in milliseconds, from which on the wall clock counts as set.
const CLOCK_WAS_SET: u64 = 10_000;

impl<W: World> Engine<W> {
    /// An attempt has ended.
    pub(super) fn attempt_ended(&mut self, id: MessageId, attempt: Attempt, permit: Option<W::Permit>) {
        if let Some(permit) = permit {
            self.learn(id, &attempt.report, permit);
        }
        let Some(content) = self.queue.ended(id) else {
            return tracing::error!(%id, "an attempt ended that was not running");
        };
        let Content {
            message,
            mut body,
            held,
            ..
        } = *content;
        if !self.returning.is_on() {
            body = Bytes::new();
        }
        // The body's memory is free as soon as no notice can need it; the rest is, once the disk has answered.
        self.queue.settling(id, held);
        if matches!(attempt.report.result, AttemptResult::NotBegun { .. }) {
            return self.take_back(message, body, attempt);
        }
        if self.asks_on_error(&attempt) {
            self.working += 1;
            let message = Box::new(message);
            let asked = AskedAttempt {
                message,
                body,
                attempt,
            };
            return self.effects.push(Effect::AskOnError(asked));
        }
        let decisions = Decisions::by_default(&attempt.report);
        self.settle(message, body, attempt, &decisions);
    }

    /// Whether the on_error hook has a say in this.
    fn asks_on_error(&self, attempt: &Attempt) -> bool {
        let report = &attempt.report;
        let clean = matches!(report.result, AttemptResult::Accepted(_)) && report.refused.is_empty();
        self.on_error && !clean && report.result != AttemptResult::Interrupted
    }

    /// The attempt did not take place: the message is the first in line again. If it has expired, it ends.
    fn take_back(&mut self, mut message: Message, body: Bytes, attempt: Attempt) {
        let (id, now) = (message.id, self.now.wall);
        let result = attempt.report.result;
        tracing::debug!(%id, flow = ?message.flows, "{result}");
        message.state.in_flight = None;
        let refusal = self.queue.afterwards(id).and_then(|noted| noted.refusal.take());
        let begun = self.queue.is_begun(id);
        if refusal.is_some() && !begun && self.queue.leave_to_notes(id) {
            return;
        }
        if self.queue.is_frozen_unbegun(id) {
            // Nothing of the attempt is on disk, and nothing is left to be written.
            return self.queue.waits(id, Status::Frozen, self.now);
        }
        if let Some(held) = self.asked_to_freeze(&mut message, now) {
            return self.conclude(Round {
                freeze: Some(held),
                ..Round::new(message, body, delayed(now))
            });
        }
        if self.queue.is_expired(id, self.now) {
            return self.give_up(message, body, &result.to_string());
        }
        match refusal {
            // Another start must not come before its end is known: on disk it would undo what was noted.
            Some(_) if self.queue.afterwards(id).is_some_and(|noted| noted.pending > 0) => {
                self.write_back(id, message.spooled_at)
            }
            Some(Refusal::NotWritten(error)) => self.cannot_begin(id, &error),
            Some(Refusal::Withdrawn) if !begun => self.queue.recalled(id, self.now),
            Some(Refusal::Withdrawn) => self.write_back(id, message.spooled_at),
            // The agent itself refused: it is not called again at once.
            None => {
                let until = now.after(NO_ROOM_PAUSE);
                message.state.set_status(Status::SendAt(until), None);
                self.conclude(Round {
                    tells: false,
                    ..Round::new(message, body, delayed(until))
                });
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        mut message: Message,
        body: Bytes,
        attempt: Attempt,
        decisions: &Decisions,
    ) {
        let now = self.now.wall;
        let id = message.id;
        self.set_right(&mut message);
        let freeze_told = self.queue.is_frozen_unbegun(id);
        let freeze = self.asked_to_freeze(&mut message, now);
        let mut hosts = attempt.report.before.iter();
        let in_doubt = attempt.report.in_doubt() || hosts.any(|host| host.report.in_doubt());
        let kinds = in_doubt.then_some(EventKind::InDoubt);
        let kinds: Vec<EventKind> = kinds.into_iter().collect();
        let record = Record::wanted().then(|| AttemptRecord::new(&message, &attempt));
        let relayed = attempt.report.without_dsn.clone();
        let before = message.state.clone();
        let at_once = first_interruption(&message, &attempt);
        let (state, fate) = if at_once {
            again_at_once(before, attempt, now)
        } else {
            dispose(before, attempt, decisions, now, &*self.dice_for(id))
        };
        if matches!(fate, Fate::Delayed { .. }) {
            self.queue.deferred(id, self.now);
        }
        message.state = state;
        if let Some(mut record) = record {
            record.settled(&message.state);
            Record::Attempt(record).emit();
        }
        self.conclude(Round {
            freeze,
            freeze_told,
            kinds,
            relayed,
            // Nothing was decided, and the body was not read: the round that follows at once decides about a notice.
            tells: !at_once,
            ..Round::new(message, body, fate)
        });
    }

    /// Why the message is frozen at the end of its session, if an operation of this process or the one before asked for that.
    fn asked_to_freeze(&mut self, message: &mut Message, now: Timestamp) -> Option<Box<Frozen>> {
        let before = message.state.frozen.take();
        let noted = self.queue.afterwards(message.id);
        let asked = noted.and_then(|noted| noted.freeze.clone());
        let held = || before.unwrap_or_else(|| Box::new(Frozen::held(now, None)));
        asked.or_else(|| (message.state.status == Status::Frozen).then(held))
    }

    /// Retries are spread over a longer time when many messages of one destination are deferred together.
    fn dice_for(&self, id: MessageId) -> Arc<dyn Dice> {
        if self.queue.is_crowded(id, self.now) {
            Arc::new(SpreadDice(Arc::clone(&self.dice)))
        } else {
            Arc::clone(&self.dice)
        }
    }

    /// Corrects the expiry of a message after the wall clock was set: the message is tried for the same time as before.
    pub(super) fn set_right(&self, message: &mut Message) {
        let known = self.queue.expires_at(message.id, self.now);
        if let (Some(end), Some(known)) = (&mut message.state.expires_at, known)
            && end.0.abs_diff(known.0) >= CLOCK_WAS_SET
        {
            *end = known;
        }
    }

    /// Attempts that a former process left open become attempts in doubt.
    pub(super) fn settle_interrupted(&mut self) {
        if self.is_over() {
            return;
        }
        let ids = std::mem::take(&mut self.interrupted);
        for id in &ids {
            self.queue.interrupted(*id);
        }
        self.start_own(Work::Interrupted, ids);
    }

    pub(super) fn settle_interrupted_one(&mut self, message: Message, body: Bytes) {
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
        self.settle(message, body, attempt, &decisions);
    }
}

/// The process ended, the message did nothing wrong: it goes on at once and no interval is taken. The second time in a
/// row it waits like any other, in case it was the message after all.
fn again_at_once(mut state: MessageState, attempt: Attempt, now: Timestamp) -> (MessageState, Fate) {
    state.in_flight = None;
    state.set_status(Status::SendAt(now), None);
    state.attempts.push(attempt);
    (state, delayed(now))
}

const fn delayed(until: Timestamp) -> Fate {
    Fate::Delayed {
        until,
        rate_limited: false,
    }
}

fn first_interruption(message: &Message, attempt: &Attempt) -> bool {
    let is_interrupted = matches!(attempt.report.result, AttemptResult::Interrupted);
    is_interrupted && !message.state.attempts.ended_interrupted()
}
