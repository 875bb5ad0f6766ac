//! The sender: it begins the sessions that its pace allows, and goes on to the time of the next event.

use super::peers::{Answer, Chance, Peer};
use crate::pace::{Adjustment, Pace, Serial, SessionStart};
use spool_core::{Dice, Hold, RetryInterval, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);
/// How far behind the head of the line the messages are whose estimates are noted.
const AHEAD: [usize; 5] = [0, 9, 99, 999, 4999];
/// Estimates are noted so often.
const NOTE_EVERY: Duration = Duration::from_millis(2_997);

/// Dice that repeat their results with the same seed.
#[derive(Debug)]
pub(super) struct Seeded(Mutex<Chance>);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Chance::new(seed)))
    }
}

impl Dice for Seeded {
    fn draw(&self, interval: RetryInterval) -> Duration {
        let chance = self.0.lock().unwrap().next();
        let least = interval.span().saturating_sub(interval.jitter());
        least + interval.jitter().mul_f64(2.0 * chance)
    }
}

/// The estimate at `at`: the `nth` message waits until `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    pub(super) at: Timestamp,
    nth: usize,
    until: Timestamp,
}

/// The result of a run.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// When each attempt began.
    pub(super) begun: Vec<Timestamp>,
    /// When each message was taken.
    pub(super) taken: Vec<Timestamp>,
    /// When each other attempt began.
    pub(super) refused: Vec<Timestamp>,
    pub(super) effects: Vec<Adjustment>,
    pub(super) estimates: Vec<Estimate>,
    pub(super) end: Timestamp,
}

impl Run {
    /// Messages a second in the second half of the time.
    pub(super) fn settled_rate(&self) -> f64 {
        let half = Timestamp(i64::midpoint(START.0, self.end.0));
        let count = self.taken.iter().filter(|at| **at >= half).count();
        count as f64 / self.end.since(half).as_secs_f64()
    }

    /// The share of attempts that deferred a message.
    pub(super) fn deferred(&self) -> f64 {
        self.refused.len() as f64 / self.begun.len() as f64
    }

    /// The waits of messages divided by their estimates, for estimates from `since` on. Waits below ten seconds do not count.
    pub(super) fn truth(&self, since: Timestamp) -> impl Iterator<Item = f64> {
        let said = self.estimates.iter().filter(move |said| said.at >= since);
        said.filter_map(|said| {
            let begun = self.begun.get(said.nth)?;
            let foretold = said.until.since(said.at).as_secs_f64();
            let waited = begun.since(said.at).as_secs_f64();
            (foretold.max(waited) >= 10.0).then_some(waited / foretold.max(0.001))
        })
    }
}

/// Sends until `attempts` have been made, or until `end`.
pub(super) fn send(
    pace: &mut Pace,
    peer: &mut dyn Peer,
    dice: &dyn Dice,
    attempts: usize,
    end: Timestamp,
) -> Run {
    let mut run = Run::default();
    let (mut now, mut note_at) = (START, START);
    let (mut running, mut open) = (0, 0);
    let mut ends: BinaryHeap<Reverse<(Timestamp, Serial)>> = BinaryHeap::new();
    let mut sessions: HashMap<Serial, (SessionStart, Answer)> = HashMap::new();
    loop {
        while run.begun.len() < attempts && now < end && pace.free(now, running) > 0 {
            let begun = pace.begin(now, running);
            running += 1;
            let answer = peer.begin(now, open, run.begun.len() + 1);
            open += usize::from(answer.taken);
            ends.push(Reverse((now.after(answer.span), begun.serial)));
            sessions.insert(begun.serial, (begun, answer));
            run.begun.push(now);
        }
        if now >= note_at {
            note_at = now.after(NOTE_EVERY);
            note(&mut run, pace, now, running);
        }
        let more = run.begun.len() < attempts;
        let next_end = ends.peek().map(|Reverse((at, _))| *at);
        let opens = more.then(|| pace.opens_at(now)).flatten();
        let Some(next) = next_end.into_iter().chain(opens).min().filter(|at| *at < end) else {
            run.end = now;
            return run;
        };
        assert!(opens.is_none_or(|at| at > now), "it opens when it is open");
        now = next;
        while let Some(Reverse((at, number))) = ends.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            ends.pop();
            let (begun, answer) = sessions.remove(&number).unwrap();
            open -= usize::from(answer.taken);
            run.effects
                .push(pace.end(&answer.signal, begun, at, running, dice));
            running -= 1;
            if answer.taken {
                run.taken.push(at);
            } else {
                run.refused.push(begun.at);
            }
        }
    }
}

/// Notes the estimates for some messages in line.
fn note(run: &mut Run, pace: &Pace, now: Timestamp, running: usize) {
    for ahead in AHEAD {
        // The end of a circuit's pause is the time of the next message, and no estimate for those behind it.
        let until = |hold: Hold| match (hold, ahead) {
            (Hold::RateLimit { until, .. }, _) | (Hold::Circuit { until, .. }, 0) => Some(until),
            (_, _) => None,
        };
        let holds = pace.holds(now, running, ahead).into_iter();
        let until = holds.filter_map(until).max().filter(|until| *until > now);
        let nth = run.begun.len() + ahead;
        run.estimates
            .extend(until.map(|until| Estimate { at: now, nth, until }));
    }
}
