//! The circuit breaker: it pauses a path that does not answer.
//!
//! A round of sessions fails when it was refused or could not be had, and nothing that began after the failure was known was taken. While
//! rounds fail, no more sessions begin than are left of those that ran. After [`FAILURES`] of them in a row the circuit opens, for a pause
//! that doubles each time; then one session, the probe, tries whether it can close.

use super::Serial;
use spool_core::{Dice, LearnedCircuit, RetryInterval, Timestamp};
use std::time::Duration;

/// Failed rounds in a row that open it.
const FAILURES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// With the time until a window is open again less than two minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(75);
/// Destinations that failed together are not tried together.
const JITTER: f64 = 0.25;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    /// Failed rounds in a row.
    failures: u32,
    /// The last attempt that had begun when a failure was counted; 0: none.
    counted_at: Serial,
    /// Sessions that may run until one is taken that began after the last failure.
    left: Option<usize>,
    open: Option<Box<Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    /// Since when it has been open.
    from: Timestamp,
    /// When the last failure was counted.
    since: Timestamp,
    until: Timestamp,
    pauses: u32,
    /// The attempt that tries it.
    probe: Option<Serial>,
    reason: Box<str>,
}

/// The state of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// All attempts may start.
    Closed,
    /// No attempt may start before this time.
    Open(Timestamp),
    /// One attempt may start: the probe.
    HalfOpen,
    /// No attempt may start before the probe has ended.
    Probing,
}

impl Breaker {
    /// A closed one, of which attempts up to `last` say nothing.
    pub(super) fn fresh(last: Serial) -> Self {
        Self {
            counted_at: last,
            ..Self::default()
        }
    }

    pub(super) fn state(&self, now: Timestamp) -> BreakerState {
        match &self.open {
            None => BreakerState::Closed,
            Some(open) if open.probe.is_some() => BreakerState::Probing,
            Some(open) if open.waits(now) => BreakerState::Open(open.until),
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Until when, how many failures in a row, and what the last one said; `None`: it is closed.
    pub(super) fn is_open(&self) -> Option<(Timestamp, u32, &str)> {
        let open = self.open.as_ref()?;
        Some((open.until, self.failures, &open.reason))
    }

    /// Whether nothing that began after the last failure was taken.
    pub(super) const fn is_failing(&self) -> bool {
        self.left.is_some()
    }

    /// Whether the attempt `serial` began after the last failure was known.
    pub(super) const fn is_news(&self, serial: Serial) -> bool {
        serial > self.counted_at
    }

    /// Sessions at once, of `limit`.
    pub(super) fn limit(&self, limit: usize) -> usize {
        self.left.map_or(limit, |left| limit.min(left))
    }

    /// The attempt `serial` starts.
    pub(super) fn begin(&mut self, serial: Serial, now: Timestamp) {
        if let Some(open) = &mut self.open
            && open.probe.is_none()
            && !open.waits(now)
        {
            open.probe = Some(serial);
        }
    }

    /// The attempt `serial` was answered. Gives for how long it was open, if it was.
    pub(super) fn succeed(&mut self, serial: Serial, now: Timestamp) -> Option<Duration> {
        if self.is_news(serial) {
            self.left = None;
        } else if self.open.is_some() {
            // It began before.
            return None;
        }
        self.failures = 0;
        self.open.take().map(|open| now.since(open.from))
    }

    /// The attempt `serial` failed; `last` is the last one that has begun, and `left` still run. Gives, when it is open from now on, how
    /// many pauses there were before in a row. Attempts that began before the last failure was known are of its round, and count no more.
    pub(super) fn fail(
        &mut self,
        serial: Serial,
        last: Serial,
        left: usize,
        now: Timestamp,
        reason: &str,
        dice: &dyn Dice,
    ) -> Option<u32> {
        self.left = Some(self.limit(left).max(1));
        let pauses = match &self.open {
            Some(open) if open.probe == Some(serial) => open.pauses.saturating_add(1),
            Some(_) => return None,
            None if !self.is_news(serial) => return None,
            None => 0,
        };
        self.failures = self.failures.saturating_add(1);
        self.counted_at = last;
        if self.failures < FAILURES {
            return None;
        }
        self.open = Some(Box::new(Open {
            from: self.open.as_ref().map_or(now, |open| open.from),
            since: now,
            until: now.after(pause(pauses, dice)),
            pauses,
            probe: None,
            reason: reason.into(),
        }));
        Some(pauses)
    }

    /// The attempt `serial` ended without a word about the destination.
    pub(super) fn forget(&mut self, serial: Serial) {
        if let Some(open) = &mut self.open
            && open.probe == Some(serial)
        {
            open.probe = None;
        }
    }

    /// A person wants it tried: at once, but not twice within the first pause.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        if let Some(open) = &mut self.open {
            open.until = open.until.min(now.max(open.since.after(FIRST_PAUSE)));
        }
    }

    pub(super) fn learned(&self) -> Option<LearnedCircuit> {
        let open = self.open.as_ref()?;
        Some(LearnedCircuit {
            until: open.until,
            failures: self.failures,
            pauses: open.pauses,
            reason: open.reason.to_string(),
        })
    }

    /// One that remembers. However long its pause was to be, it is at most the longest.
    pub(super) fn remembering(learned: LearnedCircuit, now: Timestamp) -> Self {
        Self {
            failures: learned.failures.max(FAILURES),
            open: Some(Box::new(Open {
                from: now,
                since: now,
                until: learned.until.min(now.after(LONGEST_PAUSE)),
                pauses: learned.pauses,
                probe: None,
                reason: learned.reason.into(),
            })),
            ..Self::default()
        }
    }
}

impl Open {
    /// A clock that was set back ends the pause.
    fn waits(&self, now: Timestamp) -> bool {
        (self.since..self.until).contains(&now)
    }
}

fn pause(pauses: u32, dice: &dyn Dice) -> Duration {
    let span = FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(pauses))
        .min(LONGEST_PAUSE);
    dice.draw(RetryInterval::with_jitter(span, JITTER))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{NoDice, RandomDice};

    fn at(ms: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + ms)
    }

    fn open() -> Breaker {
        let mut circuit = Breaker::default();
        for nth in 1..=4 {
            let opened = circuit.fail(nth, nth, 0, at(4), "refused", &NoDice);
            assert_eq!(opened, (nth == 4).then_some(0));
        }
        circuit
    }

    #[test]
    fn four_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let mut circuit = Breaker::default();
        for nth in 1..100 {
            assert_eq!(circuit.fail(nth, nth, 0, at(4), "refused", &NoDice), None);
            if nth % 3 == 0 {
                assert_eq!(circuit.succeed(nth, at(4)), None);
                // It began before the failure was known.
                assert!(circuit.is_failing());
                assert_eq!(circuit.succeed(nth + 1, at(4)), None);
                assert!(!circuit.is_failing());
            }
        }
        let circuit = open();
        assert_eq!(circuit.state(at(1003)), BreakerState::Open(at(1004)));
        assert_eq!(circuit.is_open(), Some((at(1004), 4, "refused")));
    }

    #[test]
    fn attempts_of_one_round_count_once() {
        let mut circuit = Breaker::default();
        for nth in 1..100 {
            assert_eq!(circuit.fail(nth, 100, 0, at(0), "refused", &NoDice), None);
        }
        assert_eq!(circuit.state(at(100)), BreakerState::Closed);
    }

    #[test]
    fn while_rounds_fail_no_session_takes_the_place_of_a_failed_one() {
        let mut circuit = Breaker::default();
        assert_eq!(circuit.limit(10), 10);
        for (nth, left) in [(1, 9), (2, 8), (3, 8), (4, 0)] {
            circuit.fail(nth, 10, left, at(0), "refused", &NoDice);
            assert_eq!(circuit.limit(10), left.max(1));
        }
        circuit.fail(5, 10, 7, at(0), "refused", &NoDice);
        assert_eq!(circuit.limit(10), 1, "it does not rise");
        circuit.succeed(11, at(1));
        assert_eq!(circuit.limit(10), 10);
    }

    #[test]
    fn one_attempt_tries_it_and_pauses_grow_to_the_longest() {
        let mut circuit = open();
        let mut now = at(4);
        let mut pauses = Vec::new();
        for nth in 10..21 {
            let BreakerState::Open(until) = circuit.state(now) else {
                panic!("{circuit:?}")
            };
            pauses.push(until.since(now).as_secs());
            circuit.begin(9, now);
            assert_eq!(circuit.state(until), BreakerState::HalfOpen);
            circuit.begin(nth, until);
            assert_eq!(circuit.state(until), BreakerState::Probing);
            // One that began before it opened says nothing new.
            assert_eq!(circuit.fail(3, nth, 0, until, "refused", &NoDice), None);
            assert!(circuit.fail(nth, nth, 0, until, "refused", &NoDice).is_some());
            now = until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 75, 75, 75, 75]);
        // One that began before it opened closes nothing.
        assert_eq!(circuit.succeed(3, now), None);
        assert_eq!(circuit.succeed(21, now), Some(now.since(at(4))));
        assert_eq!(circuit.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_person_may_have_it_tried_at_once_but_not_without_end() {
        let mut circuit = open();
        circuit.hurry(at(5));
        assert_eq!(circuit.state(at(5)), BreakerState::Open(at(1004)));
        circuit.begin(5, at(1004));
        circuit.fail(5, 5, 0, at(1004), "refused", &NoDice);
        circuit.hurry(at(1010));
        assert_eq!(circuit.state(at(1010)), BreakerState::Open(at(2004)));
        circuit.begin(6, at(2004));
        circuit.forget(5);
        assert_eq!(circuit.state(at(2004)), BreakerState::Probing);
        circuit.forget(6);
        assert_eq!(circuit.state(at(2004)), BreakerState::HalfOpen);
    }

    #[test]
    fn pauses_are_jittered_and_bounded() {
        for pauses in [0, 3, 8, 40, u32::MAX] {
            let drawn: Vec<Duration> = (0..200).map(|_| pause(pauses, &RandomDice)).collect();
            assert!(drawn.iter().any(|pause| *pause != drawn[0]));
            assert!(
                drawn
                    .iter()
                    .all(|pause| *pause <= LONGEST_PAUSE && *pause >= FIRST_PAUSE / 2)
            );
        }
    }

    #[test]
    fn what_is_remembered_goes_on_and_a_wild_clock_does_not_last() {
        let circuit = open();
        let again = Breaker::remembering(circuit.learned().unwrap(), at(500));
        assert_eq!(again.state(at(500)), BreakerState::Open(at(1004)));
        assert_eq!(again.learned(), circuit.learned());
        assert_eq!(again.state(at(-1)), BreakerState::HalfOpen);
        let far = LearnedCircuit {
            until: at(i64::MAX / 2),
            ..circuit.learned().unwrap()
        };
        assert_eq!(
            Breaker::remembering(far, at(0)).state(at(1)),
            BreakerState::Open(at(75_000))
        );
    }
}
