//! A peer that refuses everybody gets no attempts for a while, and is tried again: two minutes after it accepts again, what was learned meanwhile
//! delays nothing.

use super::peers::{Chance, Connections, Counting, Down, Messages, Peer, SERVICE, Way, Well};
use super::sender::{Run, START, Seeded, send};
use crate::pace::{Adjustment, Pace};
use spool_core::{DestinationPolicy, Timestamp};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The longest time from when a peer accepts again until it is sent all that it accepts.
const RECOVERY: Duration = Duration::from_secs(120);

fn at(seconds: u32) -> Timestamp {
    START.after(SECOND * seconds)
}

/// Sends for `span` to a peer that refuses everybody from one second to another.
fn run(way: Way, down: (u32, u32), span: u32, seed: u64) -> Run {
    let chance = Chance::new(seed);
    let all = Connections {
        k: usize::MAX,
        way,
        chance,
    };
    let mut peer = Down {
        from: at(down.0),
        until: at(down.1),
        way,
        takes: 0,
        peer: all,
    };
    let mut pace = Pace::new(&DestinationPolicy::default(), 10);
    send(&mut pace, &mut peer, &Seeded::new(seed), usize::MAX, at(span))
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
    for way in Way::ALL {
        for seed in 1..10 {
            let run = run(way, (0, 3600), 3600, seed);
            assert!(run.taken.is_empty());
            let (most, all) = (most_at_once(&run.refused), run.refused.len());
            // Four at first, two, and one after the other until the circuit opens; then one at a time.
            assert!(most <= 12, "{way:?}: {most} in two seconds");
            assert!((15..80).contains(&all), "{way:?}: {all} in an hour");
        }
    }
}

#[test]
fn a_peer_that_stops_answering_is_paused_and_comes_back_slowly() {
    for way in Way::ALL {
        for seed in 1..10 {
            let run = run(way, (60, 1800), 2400, seed);
            let most = most_at_once(&run.refused);
            // Refusals of mailboxes count as a limit a little later.
            let few = if matches!(way, Way::Rcpt | Way::Words) {
                30
            } else {
                20
            };
            assert!(most <= few, "{way:?}: {most} in two seconds");
            let up = at(1800);
            let back = *run.taken.iter().find(|at| **at >= up).unwrap();
            assert!(back.since(up) <= RECOVERY, "{way:?}: {back}");
            let reopened = run
                .effects
                .iter()
                .filter(|effect| **effect == Adjustment::Reopened);
            assert_eq!(reopened.count(), 1, "{way:?}");
            let within = |times: &[Timestamp], from: Duration, to: Duration| {
                let span = back.after(from)..back.after(to);
                times.iter().filter(|at| span.contains(at)).count()
            };
            let at_first = within(&run.begun, Duration::ZERO, Duration::from_millis(65));
            assert!(at_first <= 5, "{way:?}: {at_first} at once");
            // Soon as many as before: ten at a time, of a tenth of a second each.
            let minute = within(&run.taken, SECOND * 60, SECOND * 120);
            assert!(minute > 60 * 90, "{way:?}: {minute} in a minute");
        }
    }
}

/// A row of the table: how long it took until all messages were sent, from when the peer accepted again.
struct Row {
    what: &'static str,
    way: Way,
    times: Vec<Duration>,
    /// The most messages that were refused in that time.
    refused: usize,
}

impl Row {
    /// 1,250 messages wait for a peer that accepted for a minute, or is `new`, and then refuses all but one in `takes` for `down` seconds.
    fn new(
        what: &'static str,
        way: Way,
        (new, down, takes): (bool, u32, usize),
        peer: fn(u64) -> Box<dyn Peer>,
    ) -> Self {
        let mut row = Self {
            what,
            way,
            times: Vec::new(),
            refused: 0,
        };
        let (from, until) = if new {
            (START, at(down))
        } else {
            (at(60), at(60 + down))
        };
        for seed in 1..21 {
            let send = |attempts, end| {
                let mut peer = Down {
                    from,
                    until,
                    way,
                    takes,
                    peer: peer(seed),
                };
                let mut pace = Pace::new(&DestinationPolicy::default(), 10);
                send(&mut pace, &mut peer, &Seeded::new(seed), attempts, end)
            };
            let before = send(usize::MAX, until).begun.len();
            let run = send(before + 1250, at(1_000_000));
            row.times.push(run.end.since(until));
            let refused = run.refused.iter().filter(|at| **at >= until).count();
            row.refused = row.refused.max(refused);
        }
        row
    }

    /// `needed`: how many seconds the messages take at a peer of which everything is known.
    fn check(&self, needed: u32) {
        let worst = self.times.iter().max().unwrap();
        println!(
            "| {}, {} | {:.0} s | {} |",
            self.way.name(),
            self.what,
            worst.as_secs_f64(),
            self.refused
        );
        assert!(*worst <= RECOVERY + SECOND * needed, "{:?}", self.times);
    }
}

#[test]
fn messages_are_out_two_minutes_after_the_peer_is_well() {
    let quick = |_| Box::new(Well(SERVICE / 2)) as Box<dyn Peer>;
    for way in Way::ALL {
        Row::new("30 s, nothing known", way, (true, 30, 0), quick).check(0);
        Row::new("30 s, after a minute", way, (false, 30, 0), quick).check(0);
        Row::new("an hour", way, (false, 3600, 0), quick).check(0);
    }
}

#[test]
fn a_limit_is_met_again_two_minutes_after_the_peer_is_well() {
    for way in Way::ALL {
        Row::new("30 s, then 20 messages a second", way, (false, 30, 0), |seed| {
            Box::new(Messages::new(20.0, Counting::Bucket, Way::Mail, seed))
        })
        .check(63);
        Row::new("30 s, then 3 sessions", way, (false, 30, 0), |seed| {
            let (k, way, chance) = (3, Way::Greeting, Chance::new(seed));
            Box::new(Connections { k, way, chance })
        })
        .check(42);
    }
}

#[test]
fn messages_are_out_two_minutes_after_a_peer_is_well_that_took_some() {
    for way in [Way::Greeting, Way::Mail, Way::Rcpt, Way::Words] {
        let quick = |_| Box::new(Well(SERVICE / 2)) as Box<dyn Peer>;
        Row::new("30 s, one in 10 taken", way, (false, 30, 10), quick).check(0);
        Row::new("30 s, one in 2 taken", way, (false, 30, 2), quick).check(0);
        let slow = |_| Box::new(Well(SERVICE * 10)) as Box<dyn Peer>;
        Row::new("30 s, one in 2 taken, sessions of 1 s", way, (false, 30, 2), slow).check(125);
    }
}
