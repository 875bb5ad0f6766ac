//! A peer that cannot be reached is left alone, and found again.

use super::peers::{Chance, Peer, taken, unreachable};
use super::sender::{START, send};
use crate::pace::{Effect, Pace, Signal};
use spool_core::{DestinationPolicy, RandomDice, Timestamp};
use std::time::Duration;

/// Is down between two times.
struct Down {
    from: Timestamp,
    until: Timestamp,
    chance: Chance,
}

impl Peer for Down {
    fn begin(&mut self, now: Timestamp, _: usize) -> (Signal, Duration) {
        if (self.from..self.until).contains(&now) {
            unreachable()
        } else {
            taken(&mut self.chance)
        }
    }
}

/// The most attempts that began within any time of `span`.
fn most_within(times: &[Timestamp], span: Duration) -> usize {
    let within = |first: &Timestamp| {
        times
            .iter()
            .filter(|at| **at >= *first && **at < first.after(span))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn a_dead_peer_sees_few_attempts() {
    for seed in 1..20 {
        let mut pace = Pace::new(&DestinationPolicy::default(), 100);
        let end = START.after(Duration::from_secs(3600));
        let (from, until) = (START, end);
        let chance = Chance::new(seed);
        let run = send(
            &mut pace,
            &mut Down { from, until, chance },
            &RandomDice,
            10_000,
            end,
        );
        assert!(run.taken.is_empty());
        let most = most_within(&run.refused, Duration::from_secs(2));
        // Four at first, two, and one after the other until it is left alone; then one at a time.
        assert!(most <= 12, "{most} in two seconds");
        assert!(
            (15..40).contains(&run.refused.len()),
            "{} in an hour",
            run.refused.len()
        );
    }
}

#[test]
fn a_peer_that_dies_under_way_is_left_alone_and_comes_back_slowly() {
    for seed in 1..20 {
        let mut pace = Pace::new(&DestinationPolicy::default(), 10);
        let from = START.after(Duration::from_secs(60));
        let until = START.after(Duration::from_secs(1800));
        let end = START.after(Duration::from_secs(2400));
        let chance = Chance::new(seed);
        let run = send(
            &mut pace,
            &mut Down { from, until, chance },
            &RandomDice,
            usize::MAX,
            end,
        );
        let most = most_within(&run.refused, Duration::from_secs(2));
        assert!(most <= 20, "{most} in two seconds");
        let back = run.taken.iter().find(|at| **at >= until).unwrap();
        assert!(back.since(until) <= Duration::from_secs(301), "{back}");
        assert_eq!(
            run.effects
                .iter()
                .filter(|effect| **effect == Effect::Reopened)
                .count(),
            1
        );
        let first = run
            .taken
            .iter()
            .filter(|at| **at >= *back && at.since(*back) < Duration::from_millis(90));
        assert!(first.count() <= 3, "all at once");
        // Soon as many as ever: ten at a time, of a tenth of a second each.
        let late = run
            .taken
            .iter()
            .filter(|at| at.since(*back) >= Duration::from_secs(10))
            .count();
        let rate = late as f64 / end.since(back.after(Duration::from_secs(10))).as_secs_f64();
        assert!(rate > 95.0, "{rate} a second");
    }
}
