//! The time at which a message is sent is estimated within a factor of two, once the limits of a peer are known: of peers whose limits stay the
//! same, and of peers that refused everybody and accept again.

use super::peers::{Chance, Connections, Counting, Down, Messages, Peer, SERVICE, Way, Well};
use super::sender::{START, Seeded, send};
use crate::pace::Pace;
use spool_core::DestinationPolicy;
use std::time::Duration;

/// A row of the table: the shortest and the longest waits, divided by their estimates.
#[derive(Debug)]
struct Row {
    what: &'static str,
    truth: (f64, f64),
    count: usize,
}

impl Row {
    fn new(what: &'static str) -> Self {
        let truth = (f64::INFINITY, 0.0);
        Self {
            what,
            truth,
            count: 0,
        }
    }

    /// Sends `attempts` messages, and checks the estimates from `since` on, in seconds.
    fn run(&mut self, attempts: usize, since: u64, peer: &mut dyn Peer, seed: u64) {
        let mut pace = Pace::new(&DestinationPolicy::default(), 20);
        let end = START.after(Duration::from_secs(1_000_000));
        let run = send(&mut pace, peer, &Seeded::new(seed), attempts, end);
        for truth in run.truth(START.after(Duration::from_secs(since))) {
            self.truth = (self.truth.0.min(truth), self.truth.1.max(truth));
            self.count += 1;
        }
    }

    fn check(&self) {
        let (low, high) = self.truth;
        println!("| {} | {low:.2} to {high:.2} | {} |", self.what, self.count);
        assert!(low >= 0.5 && high <= 2.0 && self.count > 10, "{self:?}");
    }
}

#[test]
fn estimates_are_true_within_a_factor_of_two_for_a_limit_of_messages() {
    for (what, way, most) in [
        ("0.2 to 100 messages a second, 421 to MAIL", Way::Mail, 100.0),
        (
            "0.2 to 30 messages a second, 421 at the greeting",
            Way::Greeting,
            30.0,
        ),
        (
            "0.2 to 100 messages a second, 450 4.2.1 to RCPT",
            Way::Words,
            100.0,
        ),
    ] {
        let mut row = Row::new(what);
        let rates = [0.2, 1.0, 5.0, 30.0, 100.0];
        for r in rates.into_iter().filter(|r| *r <= most) {
            for counting in [Counting::Seconds, Counting::Bucket] {
                for seed in 1..4 {
                    // After a minute and forty messages a limit is known.
                    let since = 60.max((40.0 / r) as u64);
                    let attempts = 4000.max((180.0 * r) as usize);
                    let mut peer = Messages::new(r, counting, way, seed);
                    row.run(attempts, since, &mut peer, seed);
                }
            }
        }
        row.check();
    }
}

/// A rate may be learned of them for a while; no estimate uses one that does not apply.
#[test]
fn estimates_are_true_within_a_factor_of_two_for_a_limit_of_sessions() {
    for way in [Way::Mail, Way::Greeting, Way::Words] {
        for k in [1, 3, 10] {
            for seed in 1..4 {
                let mut row = Row::new("");
                let chance = Chance::new(seed);
                row.run(10_000, 60, &mut Connections { k, way, chance }, seed);
                let (low, high) = row.truth;
                assert!(
                    row.count == 0 || (low >= 0.5 && high <= 2.0),
                    "{way:?} {k}: {row:?}"
                );
            }
        }
    }
}

#[test]
fn estimates_are_true_within_a_factor_of_two_for_a_peer_that_is_well_again() {
    let down = |way, peer| Down {
        from: START.after(Duration::from_secs(60)),
        until: START.after(Duration::from_secs(90)),
        way,
        takes: 0,
        peer,
    };
    let mut all = Row::new("as many as come, after 30 s in which everybody was refused");
    let mut some = Row::new("20 messages a second, after 30 s in which everybody was refused");
    // A session gives no result while it hangs.
    for way in Way::ALL.into_iter().filter(|way| *way != Way::Broken) {
        for seed in 1..6 {
            let well: Box<dyn Peer> = Box::new(Well(SERVICE / 2));
            all.run(40_000, 90, &mut down(way, well), seed);
            let peer = Messages::new(20.0, Counting::Bucket, Way::Mail, seed);
            some.run(6_000, 90, &mut down(way, Box::new(peer)), seed);
        }
    }
    all.check();
    some.check();
}
