//! Pace: how fast and how wide one destination may be sent to now. Pure: it is told the time and what happened.
//!
//! Four things hold messages back, each in a file of its own: the [`Window`](window::Window) of sessions at once, a
//! [`Bucket`](bucket::Bucket) for the configured rate, a [`Tempo`](tempo::Tempo) that is learned, and a
//! [`Circuit`](circuit::Circuit) for a destination that does not answer. What attempts say of their destination is read by
//! [`Signal`]. It decides nothing about a message, and takes nothing from one that only waits.

mod bucket;
mod circuit;
mod pause;
mod signal;
mod suspicion;
mod tempo;
mod window;
mod witness;

#[cfg(test)]
mod tests;

pub(crate) use signal::Signal;

use bucket::Bucket;
use circuit::{Circuit, Gate};
use pause::Pause;
use signal::Throttled;
use spool_core::{DestinationPolicy, Dice, Hold, LearnedDestination, NextHop, Rate, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use suspicion::Suspicion;
use tempo::Tempo;
use window::Window;
use witness::Witness;

/// How long something is remembered that nothing renews.
pub(crate) const MEMORY: Duration = Duration::from_secs(86_400);
/// Messages deferred within [`CROWD_SPAN`] that make a crowd.
const CROWD: u32 = 16;
const CROWD_SPAN: Duration = Duration::from_secs(60);

/// Names a session of one destination, in the order of their begins.
pub(crate) type Serial = u64;

/// A session that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) serial: Serial,
    pub(crate) at: Timestamp,
    /// How many ran then, itself included.
    running: u16,
}

/// What one destination may be sent. See the module.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Sessions at once that are allowed.
    max: usize,
    /// The last session that has begun.
    last: Serial,
    window: Window,
    rate: Option<Box<(Rate, Bucket)>>,
    tempo: Tempo,
    witness: Witness,
    suspicion: Suspicion,
    circuit: Circuit,
    pause: Pause,
    /// Messages deferred, and since when they are counted.
    deferred: Option<(Timestamp, u32)>,
    last_error: Option<Box<(Timestamp, Box<str>)>>,
    /// When something was last learned.
    learned_at: Timestamp,
}

// There may be as many of them as messages.
const _: () = assert!(size_of::<Pace>() <= 224);

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Messages go on as they did.
    GoOn,
    /// Something was learned: fewer go at once, or in a time.
    Slower,
    /// Nothing goes for a while.
    Shut,
    /// It was tried, and nothing goes for another while.
    StillShut,
    /// It answers again.
    Reopened,
}

/// How a destination is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doing {
    pub(crate) limit: usize,
    pub(crate) max: usize,
    pub(crate) limit_reason: Option<String>,
    pub(crate) rate: Option<Rate>,
    /// The time between two messages, where that is learned.
    pub(crate) learned_interval: Option<Duration>,
    pub(crate) rate_reason: Option<String>,
    pub(crate) circuit: Option<(Timestamp, u32, String)>,
    pub(crate) last_error: Option<(Timestamp, String)>,
}

impl Pace {
    /// A destination of which nothing is known. `default_max` sessions at once are allowed, where the policy does not say.
    pub(crate) fn new(policy: &DestinationPolicy, default_max: usize) -> Self {
        let mut pace = Self {
            max: default_max,
            last: 0,
            window: Window::default(),
            rate: None,
            tempo: Tempo::default(),
            witness: Witness::default(),
            suspicion: Suspicion::default(),
            circuit: Circuit::default(),
            pause: Pause::default(),
            deferred: None,
            last_error: None,
            learned_at: Timestamp::default(),
        };
        pace.set_policy(policy, default_max);
        pace
    }

    /// The policy as it is now. A rate that stays keeps its bucket.
    pub(crate) fn set_policy(&mut self, policy: &DestinationPolicy, default_max: usize) {
        let max = policy.max_connections.map(|max| usize::try_from(max.get()));
        self.max = max.and_then(Result::ok).unwrap_or(default_max);
        let before = self.rate.take();
        self.rate = policy.rate.map(|rate| match before {
            Some(before) if before.0 == rate => before,
            Some(before) => Box::new((rate, Bucket::new(&rate).filled_as(&before.1))),
            None => Box::new((rate, Bucket::new(&rate))),
        });
    }

    /// How many sessions may begin now, with `running` under way and `promised` about to begin.
    pub(crate) fn free(&self, now: Timestamp, running: usize, promised: usize) -> usize {
        if self.pause.until(now).is_some() {
            return 0;
        }
        let sessions = match self.circuit.gate(now) {
            Gate::Closed if self.pause.is_in_vain() => 1_usize.saturating_sub(running),
            Gate::Closed => self.window.limit(self.max).saturating_sub(running),
            Gate::Open(_) | Gate::Probing => 0,
            // Those that began before it opened are not in the way.
            Gate::HalfOpen => 1,
        };
        sessions.min(self.tokens(now)).saturating_sub(promised)
    }

    /// For how many messages the begin of their attempt may be on disk, at most `most`: not for one that must wait.
    pub(crate) fn room(&self, now: Timestamp, most: usize) -> usize {
        if self.pause.until(now).is_some() {
            return 0;
        }
        match self.circuit.gate(now) {
            Gate::Closed if self.pause.is_in_vain() => 1.min(self.tokens(now)),
            Gate::Closed => most.min(self.tokens(now)),
            Gate::Open(_) | Gate::Probing => 0,
            Gate::HalfOpen => 1.min(self.tokens(now)),
        }
    }

    /// Whether nothing goes for now, so that what is about to begin must be taken back.
    pub(crate) fn is_shut(&self, now: Timestamp) -> bool {
        matches!(self.circuit.gate(now), Gate::Open(_)) || self.pause.until(now).is_some()
    }

    /// When time alone lets the next message go; `None`: it does not wait for time.
    pub(crate) fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        let circuit = match self.circuit.gate(now) {
            Gate::Open(until) => Some(until),
            Gate::Closed | Gate::HalfOpen => None,
            // Its attempt ends it, whenever that is.
            Gate::Probing => return None,
        };
        let waits = self.buckets().filter(|bucket| bucket.tokens(now) == 0);
        let pause = self.pause.until(now).map(|(until, _)| until);
        circuit
            .into_iter()
            .chain(pause)
            .chain(waits.map(|bucket| bucket.when(now, 0)))
            .max()
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        let configured = self.rate.as_ref().map(|rate| &rate.1);
        configured.into_iter().chain(self.tempo.bucket())
    }

    fn tokens(&self, now: Timestamp) -> usize {
        self.buckets()
            .map(|bucket| bucket.tokens(now))
            .min()
            .unwrap_or(usize::MAX)
    }

    /// A session begins; `running` were under way before. What it gives is given back when it ends.
    pub(crate) fn begin(&mut self, now: Timestamp, running: usize) -> Begun {
        self.last += 1;
        if let Some(rate) = &mut self.rate {
            rate.1.take(now);
        }
        self.window.begin(self.last, running + 1, self.max);
        self.tempo.begin(now, running == 0);
        self.circuit.begin(self.last, now);
        Begun {
            serial: self.last,
            at: now,
            running: u16::try_from(running + 1).unwrap_or(u16::MAX),
        }
    }

    /// The session `begun` has ended; with it, `running` were under way.
    pub(crate) fn end(
        &mut self,
        signal: &Signal,
        begun: Begun,
        now: Timestamp,
        running: usize,
        dice: &dyn Dice,
    ) -> Effect {
        let believed;
        let signal = match signal {
            Signal::Suspected { whose, of, reason } => {
                if !self.suspicion.refuse(whose) {
                    return self.answered_one();
                }
                let (of, reason) = (*of, reason.clone());
                believed = Signal::Throttled { of, reason };
                &believed
            }
            Signal::Fine
            | Signal::Throttled { .. }
            | Signal::Unreachable { .. }
            | Signal::NotBegun { .. }
            | Signal::Broken { .. }
            | Signal::Nothing => signal,
        };
        if let Some(reason) = signal.reason() {
            self.last_error = Some(Box::new((now, reason.into())));
            self.learned_at = now;
        }
        let serial = begun.serial;
        if !matches!(signal, Signal::NotBegun { .. } | Signal::Nothing) {
            self.pause.end();
        }
        let before = (self.window.limit(self.max), self.tempo.per_second());
        let pauses = match signal {
            Signal::Fine => {
                self.suspicion.take();
                let was_open = self.circuit.succeed();
                if was_open {
                    self.window.restart();
                }
                self.witness.take(serial, begun.running);
                self.window.grow(serial, self.max);
                self.tempo.grow(now);
                return if was_open { Effect::Reopened } else { Effect::GoOn };
            }
            Signal::Throttled { of, reason } => {
                self.throttle(*of, begun, now, running, reason);
                // Turned away at the door, it says no more than one that cannot be reached.
                let unreached = *of == Throttled::Connections;
                unreached
                    .then(|| self.circuit.fail(serial, self.last, now, reason, dice))
                    .flatten()
            }
            Signal::Unreachable { reason } | Signal::Broken { reason } => {
                self.window.lose(serial, self.last, running, reason);
                self.circuit.fail(serial, self.last, now, reason, dice)
            }
            Signal::NotBegun { reason } => {
                self.pause.lengthen(begun.at, now, reason, dice);
                if let Some(rate) = &mut self.rate {
                    rate.1.give_back();
                }
                self.tempo.give_back();
                self.circuit.forget(serial);
                return Effect::GoOn;
            }
            // Was made one of the others above.
            Signal::Nothing | Signal::Suspected { .. } => {
                self.circuit.forget(serial);
                return Effect::GoOn;
            }
        };
        let answered = matches!(
            signal,
            Signal::Throttled {
                of: Throttled::Messages,
                ..
            }
        );
        if answered && self.circuit.succeed() {
            self.window.restart();
            return Effect::Reopened;
        }
        let after = (self.window.limit(self.max), self.tempo.per_second());
        match pauses {
            None if before == after => Effect::GoOn,
            None => Effect::Slower,
            Some(0) => Effect::Shut,
            Some(_) => Effect::StillShut,
        }
    }

    /// It answered, and what it said is taken for a word about one mailbox.
    fn answered_one(&mut self) -> Effect {
        self.pause.end();
        if self.circuit.succeed() {
            self.window.restart();
            return Effect::Reopened;
        }
        Effect::GoOn
    }

    /// A single session cannot be too many: then it is the messages.
    fn throttle(&mut self, of: Throttled, begun: Begun, now: Timestamp, running: usize, reason: &str) {
        if self.circuit.is_open().is_some() && of == Throttled::Connections {
            // It is left alone anyway, and what it says all the while is not about how many.
            return;
        }
        let alone = running <= 1;
        if of == Throttled::Messages {
            self.witness.refuse(begun.serial, begun.running, self.last);
        }
        let by_sessions = self.witness.means_sessions();
        let known = self.tempo.bucket().is_some();
        let (messages, sessions) = match of {
            Throttled::Connections => (alone && self.tempo.is_measured(), !alone),
            Throttled::Messages if by_sessions => (false, true),
            // Once there is a rate, it answers for the messages.
            Throttled::Messages => (true, !known),
        };
        if messages {
            self.tempo.refuse(begun.at, now, reason);
        } else if by_sessions {
            self.tempo.forget();
        }
        if sessions {
            self.window.refuse(begun.serial, self.last, running, reason);
        }
    }

    /// Whether so many messages were deferred a moment ago that they must not come back together.
    pub(crate) fn is_crowded(&self, now: Timestamp) -> bool {
        self.deferred_lately(now).is_some_and(|(_, count)| count >= CROWD)
    }

    /// A message was deferred.
    pub(crate) fn defer(&mut self, now: Timestamp) {
        let (since, count) = self.deferred_lately(now).unwrap_or((now, 0));
        self.deferred = Some((since, count.saturating_add(1)));
    }

    fn deferred_lately(&self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.deferred
            .filter(|(since, _)| *since <= now && now.since(*since) < CROWD_SPAN)
    }

    /// A person wants its messages sent: what it waits for because it did not answer, or its host was busy, is over.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        self.circuit.hurry(now);
        self.pause.end();
    }

    /// Whether no connection was had for the last message that asked for one.
    pub(crate) const fn waits_for_room(&self) -> bool {
        self.pause.is_in_vain()
    }

    /// A connection may be had for it: its next message asks at once.
    pub(crate) fn hurry_for_room(&mut self, now: Timestamp) {
        self.pause.cut(now);
    }

    /// What holds back a message with `ahead` others before it, while `running` sessions run.
    pub(crate) fn holds(&self, now: Timestamp, running: usize, ahead: usize) -> Vec<Hold> {
        let mut holds = Vec::new();
        if let Some((until, failures, reason)) = self.circuit.is_open() {
            let reason = reason.to_owned();
            holds.push(Hold::Circuit {
                until,
                reason,
                failures,
            });
        }
        if let Some((until, reason)) = self.pause.until(now) {
            let reason = reason.to_owned();
            holds.push(Hold::HostBusy { until, reason });
        }
        let configured = self.rate.as_ref().map(|rate| (&rate.1, None));
        let learned = self.tempo.bucket().map(|bucket| (bucket, self.tempo.reason()));
        for (bucket, reason) in configured.into_iter().chain(learned) {
            if bucket.tokens(now) <= ahead {
                holds.push(Hold::RateLimit {
                    until: bucket.when(now, ahead),
                    learned: reason.map(str::to_owned),
                });
            }
        }
        let (limit, max) = (self.window.limit(self.max), self.max);
        if running >= limit && limit < max {
            let unknown = "more have not been tried yet";
            let reason = self.window.reason().unwrap_or(unknown).to_owned();
            holds.push(Hold::Adapted { limit, max, reason });
        } else if running >= limit {
            holds.push(Hold::DestinationLimit { max, running });
        }
        holds
    }

    pub(crate) fn doing(&self) -> Doing {
        let interval = self.tempo.per_second().map(|rate| 1.0 / rate);
        Doing {
            limit: self.window.limit(self.max),
            max: self.max,
            limit_reason: self.window.reason().map(str::to_owned),
            rate: self.rate.as_ref().map(|rate| rate.0),
            learned_interval: interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            rate_reason: self.tempo.reason().map(str::to_owned),
            circuit: self
                .circuit
                .is_open()
                .map(|(until, failures, reason)| (until, failures, reason.to_owned())),
            last_error: self
                .last_error
                .as_ref()
                .map(|error| (error.0, error.1.to_string())),
        }
    }

    /// Whether it is any different from a new one, or may be.
    pub(crate) fn is_worth_remembering(&self) -> bool {
        let learned = self.window.reason().is_some() || self.tempo.bucket().is_some();
        learned || self.circuit.is_open().is_some() || self.rate.is_some()
    }

    /// Whether nothing of it is worth remembering any more.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.learned_at) >= MEMORY && self.rate.as_ref().is_none_or(|rate| rate.1.is_full(now))
    }

    /// What is worth remembering at `now`; `None`: it is as good as new.
    pub(crate) fn learned(&self, next_hops: &Arc<[NextHop]>, now: Timestamp) -> Option<LearnedDestination> {
        let fresh = now.since(self.learned_at) < MEMORY;
        let next_message = self
            .rate
            .as_ref()
            .and_then(|rate| (rate.1.tokens(now) == 0).then(|| rate.1.when(now, 0)));
        let learned = LearnedDestination {
            next_hops: Arc::clone(next_hops),
            at: self.learned_at,
            sessions: self.window.learned().filter(|_| fresh),
            rate: self.tempo.learned().filter(|_| fresh),
            circuit: self.circuit.learned().filter(|_| fresh),
            next_message,
        };
        if learned.sessions.is_some() || learned.rate.is_some() || learned.circuit.is_some() {
            return Some(learned);
        }
        // A time to come, and nothing that could be too old.
        next_message.map(|_| LearnedDestination { at: now, ..learned })
    }

    /// Takes up what was remembered, unless that is too old.
    pub(crate) fn remember(&mut self, learned: LearnedDestination, now: Timestamp) {
        if let (Some(rate), Some(next)) = (&mut self.rate, learned.next_message) {
            rate.1.hold_until(next);
        }
        if now.since(learned.at) >= MEMORY {
            return;
        }
        self.learned_at = learned.at.min(now);
        if let Some(sessions) = learned.sessions {
            self.window = Window::remembering(sessions);
        }
        if let Some(rate) = learned.rate {
            self.tempo = Tempo::remembering(rate);
        }
        if let Some(circuit) = learned.circuit {
            self.circuit = Circuit::remembering(circuit, now);
        }
    }
}
