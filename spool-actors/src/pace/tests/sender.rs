//! The sender: it begins whatever its pace allows, and waits for the next thing to happen.

use super::peers::Peer;
use crate::pace::{Begun, Effect, Pace, Serial, Signal};
use spool_core::{Dice, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// When each message was taken.
    pub(super) taken: Vec<Timestamp>,
    /// When each other attempt began.
    pub(super) refused: Vec<Timestamp>,
    pub(super) effects: Vec<Effect>,
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
        self.refused.len() as f64 / (self.taken.len() + self.refused.len()) as f64
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
    let mut now = START;
    let (mut running, mut open, mut made) = (0, 0, 0_usize);
    let mut ends: BinaryHeap<Reverse<(Timestamp, Serial)>> = BinaryHeap::new();
    let mut sessions: HashMap<Serial, (Begun, Signal)> = HashMap::new();
    loop {
        while made < attempts && now < end && pace.free(now, running, 0) > 0 {
            let begun = pace.begin(now, running);
            running += 1;
            let (signal, span) = peer.begin(now, open);
            open += usize::from(signal == Signal::Fine);
            ends.push(Reverse((now.after(span), begun.serial)));
            sessions.insert(begun.serial, (begun, signal));
            made += 1;
        }
        let next_end = ends.peek().map(|Reverse((at, _))| *at);
        let opens = (made < attempts).then(|| pace.opens_at(now)).flatten();
        let Some(next) = next_end.into_iter().chain(opens).min().filter(|at| *at < end) else {
            run.end = now;
            return run;
        };
        assert!(opens.is_none_or(|at| at > now), "it opens when it is open");
        now = next;
        while let Some(Reverse((at, number))) = ends.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            ends.pop();
            let (begun, signal) = sessions.remove(&number).unwrap();
            let fine = signal == Signal::Fine;
            open -= usize::from(fine);
            run.effects.push(pace.end(&signal, begun, at, running, dice));
            running -= 1;
            if fine {
                run.taken.push(at);
            } else {
                run.refused.push(begun.at);
            }
        }
    }
}
