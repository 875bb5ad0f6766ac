//! Pace: how many sessions and messages a path may get at present. It has no clock and no I/O: the caller passes the time and the events.
//!
//! What is learned of a path, in five sentences:
//!
//! 1. The concurrency [`Window`] doubles from 4 sessions on in each round that fills it, is cut to four fifths when a session too many is
//!    refused, and then grows slowly.
//! 2. The learned [rate limit](rate) begins, with the first refusal that hits everybody at any number of sessions, at what was taken
//!    until then; it is cut and grows as the window does, and is forgotten when ten times as much is taken.
//! 3. A refusal hits everybody when the peer closes the session or names a rate, when four different mailboxes in a row are refused, or
//!    when one is and only a rate that is just being raised explains it.
//! 4. Only the first refusal after a success teaches a limit: where all sessions fail, no more begin than end, and after four such rounds the
//!    circuit [`Breaker`] opens for 1 s, doubled each time up to 75 s.
//! 5. After each pause one message is the probe; the first that is answered closes the circuit, and the window opens from 4 sessions on.
//!
//! A configured rate has its own [`Bucket`]. [`Signal`] reads what the result of an attempt says about its path. A pace decides nothing about
//! a message.

mod aimd;
mod bucket;
mod circuit;
mod doing;
mod evidence;
mod rate;
mod signal;
mod suspicion;
mod window;

#[cfg(test)]
mod tests;

pub(crate) use signal::Signal;

use bucket::Bucket;
use circuit::{Breaker, BreakerState};
use evidence::Evidence;
use rate::LearnedLimit;
use signal::Throttled;
use spool_core::{DestinationPolicy, Dice, LearnedDestination, NextHop, Rate, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use suspicion::Suspicion;
use window::Window;

/// How long something is remembered that nothing renews.
const MEMORY: Duration = Duration::from_secs(86_400);

/// Numbers the sessions of one path in the order of their starts.
pub(crate) type Serial = u64;

/// A session that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionStart {
    pub(crate) serial: Serial,
    pub(crate) at: Timestamp,
    /// How many ran then, itself included.
    running: u16,
}

/// What one path may get. See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    /// Sessions at once that are allowed.
    max: usize,
    /// The last session that has begun.
    last: Serial,
    window: Window,
    rate: Option<Box<(Rate, Bucket)>>,
    learned: LearnedLimit,
    evidence: Evidence,
    suspicion: Suspicion,
    circuit: Breaker,
    last_error: Option<Box<(Timestamp, Box<str>)>>,
    /// When something was last learned.
    learned_at: Timestamp,
}

// There may be as many of them as messages.
const _: () = assert!(size_of::<Pace>() <= 224);

/// How the end of an attempt changes the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adjustment {
    /// Nothing changes.
    GoOn,
    /// A limit was learned: fewer sessions at once, or a lower rate.
    Slower,
    /// The circuit opened.
    Shut,
    /// A probe failed, and the circuit stays open.
    StillShut,
    /// The circuit closed.
    Reopened,
}

impl Pace {
    /// A destination of which nothing is known. `default_max` sessions at once are allowed, where the policy does not say.
    pub(crate) fn new(policy: &DestinationPolicy, default_max: usize) -> Self {
        let mut pace = Self::default();
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

    /// How many more attempts may start at `now`, while `out` permits are in use.
    pub(crate) fn free(&self, now: Timestamp, out: usize) -> usize {
        let open = match self.circuit.state(now) {
            BreakerState::Open(_) | BreakerState::Probing => 0,
            // Attempts that started before it opened do not count.
            BreakerState::HalfOpen => 1,
            BreakerState::Closed => self.limit().saturating_sub(out),
        };
        open.min(self.tokens(now))
    }

    /// Whether nothing but the number of sessions holds messages back.
    pub(crate) fn is_unhindered(&self) -> bool {
        self.circuit.is_open().is_none() && self.buckets().next().is_none()
    }

    /// Sessions at once.
    pub(crate) fn limit(&self) -> usize {
        self.circuit.limit(self.window.limit(self.max))
    }

    /// Whether the circuit is open, so that starts that are on disk must be taken back.
    pub(crate) fn is_shut(&self, now: Timestamp) -> bool {
        matches!(self.circuit.state(now), BreakerState::Open(_))
    }

    /// When the next message may go, if it waits for time alone; `None`: it does not.
    pub(crate) fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        let circuit = match self.circuit.state(now) {
            BreakerState::Open(until) => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen => None,
            // Its attempt ends it, whenever that is.
            BreakerState::Probing => return None,
        };
        let waits = self.buckets().filter(|bucket| bucket.tokens(now) == 0);
        circuit
            .into_iter()
            .chain(waits.map(|bucket| bucket.when(now, 0)))
            .max()
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        let configured = self.rate.as_ref().map(|rate| &rate.1);
        configured.into_iter().chain(self.learned.bucket())
    }

    fn tokens(&self, now: Timestamp) -> usize {
        self.buckets()
            .map(|bucket| bucket.tokens(now))
            .min()
            .unwrap_or(usize::MAX)
    }

    /// A session starts, while `running` others are under way. The caller passes the result to [`Pace::end`].
    pub(crate) fn begin(&mut self, now: Timestamp, running: usize) -> SessionStart {
        self.last += 1;
        if let Some(rate) = &mut self.rate {
            rate.1.take(now);
        }
        self.window.begin(self.last, running + 1, self.max);
        self.learned.begin(now, running == 0);
        self.circuit.begin(self.last, now);
        SessionStart {
            serial: self.last,
            at: now,
            running: u16::try_from(running + 1).unwrap_or(u16::MAX),
        }
    }

    /// The session `begun` has ended; with it, `running` were under way.
    pub(crate) fn end(
        &mut self,
        signal: &Signal,
        begun: SessionStart,
        now: Timestamp,
        running: usize,
        dice: &dyn Dice,
    ) -> Adjustment {
        let news = self.circuit.is_news(begun.serial);
        let (limit, reason) = match signal {
            Signal::Nothing => {
                self.circuit.forget(begun.serial);
                return Adjustment::GoOn;
            }
            Signal::Unused => {
                if let Some(rate) = &mut self.rate {
                    rate.1.give_back();
                }
                self.learned.give_back();
                self.circuit.forget(begun.serial);
                return Adjustment::GoOn;
            }
            Signal::Fine => {
                self.suspicion.take();
                if news {
                    self.evidence.take(begun.running);
                }
                self.window.grow(begun.serial, self.max);
                self.learned.grow(now);
                return self.answered(begun, now);
            }
            // It answered, and its reply is taken as about one mailbox only.
            Signal::Suspected { whose, .. } if !(self.suspicion.refuse(whose) || self.learned.explains()) => {
                return self.answered(begun, now);
            }
            Signal::Suspected { of, reason, .. } | Signal::Throttled { of, reason } => (Some(*of), reason),
            Signal::Unreachable { reason } => (None, reason),
        };
        self.last_error = Some(Box::new((now, reason.as_str().into())));
        self.learned_at = now;
        let limit = limit.filter(|_| news && !self.circuit.is_failing());
        if let Some(of) = limit {
            self.cut(of, begun, now, running, reason);
        }
        let left = running.saturating_sub(1);
        match self
            .circuit
            .fail(begun.serial, self.last, left, now, reason, dice)
        {
            None if limit.is_none() => Adjustment::GoOn,
            None => Adjustment::Slower,
            Some(0) => Adjustment::Shut,
            Some(_) => Adjustment::StillShut,
        }
    }

    /// The path answered.
    fn answered(&mut self, begun: SessionStart, now: Timestamp) -> Adjustment {
        let Some(span) = self.circuit.succeed(begun.serial, now) else {
            return Adjustment::GoOn;
        };
        self.window.restart();
        self.learned.skip(span);
        Adjustment::Reopened
    }

    /// A limit of the destination was exceeded: of messages in a time, or of sessions at once.
    fn cut(&mut self, of: Throttled, begun: SessionStart, now: Timestamp, running: usize, reason: &str) {
        let full = running >= self.window.limit(self.max);
        let says = of == Throttled::Connections;
        let sessions = self.evidence.refuse(begun.running, says);
        if sessions {
            self.learned.forget();
        } else {
            self.learned.cut(begun.at, now, running, reason);
        }
        if sessions || full {
            self.window.cut(running, reason);
        }
    }

    /// Forgets what was learned, and ignores the results of sessions that run: as a new path under the same policy.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            max: self.max,
            last: self.last,
            rate: self.rate.take(),
            circuit: Breaker::fresh(self.last),
            ..Self::default()
        };
    }

    /// An operator wants its messages sent: ends the pause of an open circuit.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        self.circuit.hurry(now);
    }

    /// Whether it differs from a new one, or may.
    pub(crate) fn is_worth_remembering(&self) -> bool {
        let limited = self.window.reason().is_some() || self.learned.bucket().is_some();
        limited || self.circuit.is_open().is_some() || self.rate.is_some()
    }

    /// Whether everything it learned is outdated.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.learned_at) >= MEMORY && !self.rate.as_ref().is_some_and(|rate| rate.1.is_in_use(now))
    }

    /// What is worth keeping on disk at `now`; `None`: nothing.
    pub(crate) fn learned(&self, next_hops: &Arc<[NextHop]>, now: Timestamp) -> Option<LearnedDestination> {
        let learned = Some(self).filter(|pace| now.since(pace.learned_at) < MEMORY);
        let sessions = learned.and_then(|pace| pace.window.learned());
        let rate = learned.and_then(|pace| pace.learned.learned());
        let circuit = learned.and_then(|pace| pace.circuit.learned());
        let empty = self.rate.as_ref().filter(|rate| rate.1.tokens(now) == 0);
        let next_message = empty.map(|rate| rate.1.when(now, 0));
        // A time to come is never too old.
        let at = match sessions.is_some() || rate.is_some() || circuit.is_some() {
            true => self.learned_at,
            false => next_message.map(|_| now)?,
        };
        Some(LearnedDestination {
            next_hops: Arc::clone(next_hops),
            at,
            sessions,
            rate,
            circuit,
            next_message,
        })
    }

    /// Restores what was kept on disk, unless it is too old.
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
            self.learned = LearnedLimit::remembering(rate);
        }
        if let Some(circuit) = learned.circuit {
            self.circuit = Breaker::remembering(circuit, now);
        }
    }
}
