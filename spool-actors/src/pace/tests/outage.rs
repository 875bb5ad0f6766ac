//! A peer that cannot be reached is left alone, and found again.

use super::peers::{Chance, Peer, taken, throttled, unreachable};
use super::sender::{Run, START, send};
use crate::pace::signal::Throttled;
use crate::pace::{Effect, Pace, Signal};
use spool_core::{DestinationPolicy, RandomDice, Timestamp};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Is down between two times.
struct Down {
    from: Timestamp,
    until: Timestamp,
    /// What it says then.
    says: fn() -> (Signal, Duration),
    chance: Chance,
}

impl Peer for Down {
    fn begin(&mut self, now: Timestamp, _: usize) -> (Signal, Duration) {
        if (self.from..self.until).contains(&now) {
            (self.says)()
        } else {
            taken(&mut self.chance)
        }
    }
}

/// Ways in which a peer is down.
const WAYS: [fn() -> (Signal, Duration); 3] = [
    unreachable,
    || throttled(Throttled::Connections),
    || {
        let reason = "timed out".to_owned();
        (Signal::Broken { reason }, SECOND * 30)
    },
];

/// Sends for `span` to a peer that is down from one second to another.
fn run(says: fn() -> (Signal, Duration), down: (u32, u32), span: u32, seed: u64) -> Run {
    let at = |seconds: u32| START.after(SECOND * seconds);
    let mut peer = Down {
        from: at(down.0),
        until: at(down.1),
        says,
        chance: Chance::new(seed),
    };
    let mut pace = Pace::new(&DestinationPolicy::default(), 10);
    send(&mut pace, &mut peer, &RandomDice, usize::MAX, at(span))
}

/// The most attempts that began within any two seconds.
fn most_at_once(times: &[Timestamp]) -> usize {
    let within = |first: &Timestamp| {
        let last = first.after(SECOND * 2);
        times.iter().filter(|at| (*first..last).contains(*at)).count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn a_dead_peer_sees_few_attempts() {
    for (way, says) in WAYS.into_iter().enumerate() {
        for seed in 1..10 {
            let run = run(says, (0, 3600), 3600, seed);
            assert!(run.taken.is_empty());
            let (most, all) = (most_at_once(&run.refused), run.refused.len());
            // Four at first, two, and one after the other until it is left alone; then one at a time.
            assert!(most <= 12, "way {way}: {most} in two seconds");
            assert!((15..40).contains(&all), "way {way}: {all} in an hour");
        }
    }
}

#[test]
fn a_peer_that_dies_under_way_is_left_alone_and_comes_back_slowly() {
    for (way, says) in WAYS.into_iter().enumerate() {
        for seed in 1..10 {
            let run = run(says, (60, 1800), 2400, seed);
            let most = most_at_once(&run.refused);
            assert!(most <= 20, "way {way}: {most} in two seconds");
            let up = START.after(SECOND * 1800);
            let back = *run.taken.iter().find(|at| **at >= up).unwrap();
            // The longest pause, and an attempt that began before.
            assert!(back.since(up) <= SECOND * 331, "way {way}: {back}");
            let reopened = run.effects.iter().filter(|effect| **effect == Effect::Reopened);
            assert_eq!(reopened.count(), 1, "way {way}");
            let later = |span: Duration| {
                run.taken
                    .iter()
                    .filter(move |at| **at >= back.after(span))
                    .count()
            };
            let at_first = later(Duration::ZERO) - later(Duration::from_millis(65));
            assert!(at_first <= 3, "way {way}: {at_first} at once");
            // Soon as many as ever: ten at a time, of a tenth of a second each.
            let minute = later(SECOND * 60) - later(SECOND * 120);
            assert!(minute > 60 * 90, "way {way}: {minute} in a minute");
        }
    }
}
