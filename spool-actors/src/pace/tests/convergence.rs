//! Against a peer that takes at most k sessions at once, or r messages a second, the sender reaches a rate within a fifth of it, and
//! less than one message in twenty is deferred; refusals of single mailboxes do not slow the others.

use super::peers::{Chance, Connections, Counting, Down, Messages, Peer, SERVICE, Share, Way};
use super::sender::{START, send};
use crate::pace::Pace;
use spool_core::{DestinationPolicy, NoDice};
use std::time::Duration;

const ATTEMPTS: usize = 6000;
const SEEDS: std::ops::Range<u64> = 1..4;

/// A row of the table: the worst and the best of some runs.
#[derive(Debug)]
struct Row {
    what: &'static str,
    share: (f64, f64),
    deferred: (f64, f64),
}

impl Row {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            share: (f64::INFINITY, 0.0),
            deferred: (f64::INFINITY, 0.0),
        }
    }

    /// Sends `attempts` messages, in at most `max` sessions, to a peer that could take `ideal` a second.
    fn run(&mut self, attempts: usize, peer: &mut dyn Peer, max: usize, ideal: f64) {
        let mut pace = Pace::new(&DestinationPolicy::default(), max);
        let end = START.after(Duration::from_secs(1_000_000));
        let run = send(&mut pace, peer, &NoDice, attempts, end);
        let (share, deferred) = (run.settled_rate() / ideal, run.deferred());
        self.share = (self.share.0.min(share), self.share.1.max(share));
        self.deferred = (self.deferred.0.min(deferred), self.deferred.1.max(deferred));
    }

    fn check(&self, least: f64, most_deferred: f64) {
        let ((low, high), (few, many)) = (self.share, self.deferred);
        println!(
            "| {} | {:.0} to {:.0} % | {:.1} to {:.1} % |",
            self.what,
            low * 100.0,
            high * 100.0,
            few * 100.0,
            many * 100.0
        );
        assert!(low >= least && high <= 1.03, "{self:?}");
        assert!(many < most_deferred, "{self:?}");
    }

    fn meets_its_limit(&self) {
        self.check(0.8, 0.05);
    }
}

/// Sessions at once that are allowed, and a seed, of each run.
fn runs(max: [usize; 2]) -> impl Iterator<Item = (usize, u64)> {
    max.into_iter().flat_map(|max| SEEDS.map(move |seed| (max, seed)))
}

/// Messages a second of `max` sessions.
fn ideal(max: usize) -> f64 {
    max as f64 / SERVICE.as_secs_f64()
}

fn sessions(what: &'static str, way: Way, seconds: f64) {
    let mut row = Row::new(what);
    for k in [1, 2, 3, 5, 8, 10, 20, 35, 50, 80] {
        for seed in SEEDS {
            let chance = Chance::new(seed);
            let attempts = ATTEMPTS.max((seconds * ideal(k)) as usize);
            row.run(attempts, &mut Connections { k, way, chance }, 100, ideal(k));
        }
    }
    row.meets_its_limit();
}

fn messages(what: &'static str, way: Way, counting: Counting, rates: &[f64]) {
    let mut row = Row::new(what);
    for r in rates {
        for (max, seed) in runs([20, 100]) {
            if ideal(max) > 1.5 * r {
                // Five minutes at least.
                let attempts = ATTEMPTS.max((300.0 * r) as usize);
                row.run(attempts, &mut Messages::new(*r, counting, way, seed), max, *r);
            }
        }
    }
    row.meets_its_limit();
}

#[test]
fn it_settles_at_the_sessions_a_peer_takes() {
    sessions("1 to 80 sessions, 421 at the greeting", Way::Greeting, 60.0);
}

/// Two limits that refuse in the same way at first. Some refusals are needed to distinguish them.
#[test]
fn it_settles_at_the_sessions_of_a_peer_that_complains_of_messages() {
    sessions("1 to 80 sessions, 421 to MAIL", Way::Mail, 300.0);
}

#[test]
fn it_settles_at_the_messages_a_peer_takes() {
    let rates = [0.2, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
    messages(
        "0.2 to 300 messages a second, in full seconds, 421 to MAIL",
        Way::Mail,
        Counting::Seconds,
        &rates,
    );
    messages(
        "0.2 to 300 messages a second, as a token bucket, 421 to MAIL",
        Way::Mail,
        Counting::Bucket,
        &rates,
    );
}

#[test]
fn it_settles_at_the_messages_of_a_peer_that_refuses_connections_instead() {
    let rates = [1.0, 5.0, 20.0, 100.0];
    messages(
        "1 to 100 messages a second, in full seconds, 421 at the greeting",
        Way::Greeting,
        Counting::Seconds,
        &rates,
    );
    messages(
        "1 to 100 messages a second, as a token bucket, 421 at the greeting",
        Way::Greeting,
        Counting::Bucket,
        &rates,
    );
}

#[test]
fn it_settles_at_the_messages_of_a_peer_that_says_so_in_words_alone() {
    let rates = [1.0, 5.0, 20.0, 100.0];
    messages(
        "1 to 100 messages a second, in full seconds, 450 4.2.1 to RCPT",
        Way::Words,
        Counting::Seconds,
        &rates,
    );
    messages(
        "1 to 100 messages a second, as a token bucket, 450 4.2.1 to RCPT",
        Way::Words,
        Counting::Bucket,
        &rates,
    );
}

#[test]
fn a_peer_that_takes_more_than_allowed_is_sent_what_is_allowed() {
    let mut row = Row::new("50 sessions, of which 10 are allowed");
    let (way, chance) = (Way::Greeting, Chance::new(1));
    row.run(ATTEMPTS, &mut Connections { k: 50, way, chance }, 10, ideal(10));
    row.check(0.95, f64::EPSILON);
}

#[test]
fn one_sick_mailbox_of_a_hundred_takes_nothing_from_the_others() {
    let run = |what, one_in, same, way, (least, most_deferred)| {
        let mut row = Row::new(what);
        for (max, seed) in runs([10, 100]) {
            let chance = Chance::new(seed);
            let mut peer = Share {
                one_in,
                same,
                way,
                chance,
            };
            row.run(4 * ATTEMPTS, &mut peer, max, ideal(max));
        }
        row.check(least, most_deferred);
    };
    let words = Way::Words;
    run("one sick mailbox of a hundred", 100, true, words, (0.95, 0.02));
    run(
        "one refused mailbox of a hundred, each another",
        100,
        false,
        words,
        (0.95, 0.02),
    );
    run(
        "one refused mailbox of twenty, each another",
        20,
        false,
        words,
        (0.95, 0.06),
    );
    run(
        "one failed connection of two hundred",
        200,
        false,
        Way::Unreachable,
        (0.85, 0.02),
    );
}

#[test]
fn refused_mailboxes_do_not_keep_up_what_an_outage_taught() {
    let mut row = Row::new("one refused mailbox of a hundred, after everybody was for 30 s");
    for (max, seed) in runs([10, 100]) {
        let at = |seconds| START.after(Duration::from_secs(seconds));
        let mut peer = Down {
            from: at(10),
            until: at(40),
            way: Way::Words,
            takes: 0,
            peer: Share {
                one_in: 100,
                same: false,
                way: Way::Words,
                chance: Chance::new(seed),
            },
        };
        row.run((ideal(max) * 400.0) as usize, &mut peer, max, ideal(max));
    }
    row.check(0.95, 0.02);
}
