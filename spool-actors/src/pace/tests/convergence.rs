//! Against a peer that takes at most k sessions at once, or r messages a second, the sender settles within a fifth of it and
//! has less than one message in twenty deferred.

use super::peers::{Chance, Connections, Counting, InWords, Messages, OneSickMailbox, Peer, SERVICE};
use super::sender::{START, send};
use crate::pace::Pace;
use crate::pace::signal::Throttled;
use spool_core::{DestinationPolicy, NoDice};
use std::time::Duration;

const ATTEMPTS: usize = 6000;

/// Runs it, and says how near it came to `ideal` messages a second, and what share was deferred.
fn settle(peer: &mut dyn Peer, max: usize, ideal: f64) -> (f64, f64) {
    settle_in(ATTEMPTS, peer, max, ideal)
}

fn settle_in(attempts: usize, peer: &mut dyn Peer, max: usize, ideal: f64) -> (f64, f64) {
    let mut pace = Pace::new(&DestinationPolicy::default(), max);
    let end = START.after(Duration::from_secs(1_000_000));
    let run = send(&mut pace, peer, &NoDice, attempts, end);
    (run.settled_rate() / ideal, run.deferred())
}

fn check(what: &str, (share, deferred): (f64, f64)) {
    println!(
        "{what}: {:.0}% of it, {:.2}% deferred",
        share * 100.0,
        deferred * 100.0
    );
    assert!((0.8..=1.2).contains(&share), "{what}: {share:.3} of it");
    assert!(deferred < 0.05, "{what}: {deferred:.4} deferred");
}

#[test]
fn it_settles_at_the_sessions_a_peer_takes() {
    for k in [1, 2, 3, 5, 8, 10, 20, 35, 50, 80] {
        for seed in 1..4 {
            let chance = Chance::new(seed);
            let says = Throttled::Connections;
            let mut peer = Connections { k, says, chance };
            let ideal = k as f64 / SERVICE.as_secs_f64();
            check(&format!("{k} sessions"), settle(&mut peer, 100, ideal));
        }
    }
}

/// Two limits that look alike from outside. To tell them apart takes some refusals.
#[test]
fn it_settles_at_the_sessions_of_a_peer_that_complains_of_messages() {
    for k in [1, 2, 3, 5, 8, 10, 20, 50] {
        for seed in 7..10 {
            let chance = Chance::new(seed);
            let says = Throttled::Messages;
            let mut peer = Connections { k, says, chance };
            let ideal = k as f64 / SERVICE.as_secs_f64();
            check(
                &format!("{k} sessions, refused as messages"),
                settle_in(5 * ATTEMPTS, &mut peer, 100, ideal),
            );
        }
    }
}

#[test]
fn it_settles_at_the_messages_a_peer_takes() {
    for r in [0.2, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0] {
        for counting in [Counting::Seconds, Counting::Bucket] {
            for seed in 1..4 {
                let mut peer = Messages::new(r, counting, Throttled::Messages, seed);
                check(
                    &format!("{r} messages a second, {counting:?}"),
                    settle(&mut peer, 100, r),
                );
            }
        }
    }
}

#[test]
fn it_settles_at_the_messages_of_a_peer_that_refuses_connections_instead() {
    for r in [1.0, 5.0, 20.0] {
        let mut peer = Messages::new(r, Counting::Bucket, Throttled::Connections, 5);
        check(
            &format!("{r} messages a second, refused as connections"),
            settle(&mut peer, 100, r),
        );
    }
}

#[test]
fn a_peer_that_takes_more_than_allowed_is_sent_what_is_allowed() {
    let mut peer = Connections {
        k: 50,
        says: Throttled::Connections,
        chance: Chance::new(1),
    };
    let (share, deferred) = settle(&mut peer, 10, 10.0 / SERVICE.as_secs_f64());
    assert!(
        (0.95..=1.05).contains(&share) && deferred == 0.0,
        "{share} {deferred}"
    );
}

#[test]
fn one_sick_mailbox_of_a_hundred_takes_nothing_from_the_others() {
    let mut pace = Pace::new(&DestinationPolicy::default(), 10);
    let mut peer = OneSickMailbox {
        one_in: 100,
        count: 0,
        chance: Chance::new(3),
    };
    let end = START.after(Duration::from_secs(1_000_000));
    let run = send(&mut pace, &mut peer, &NoDice, ATTEMPTS, end);
    let share = run.settled_rate() / (10.0 / SERVICE.as_secs_f64());
    println!("beside one sick mailbox: {:.1}% of the rate", share * 100.0);
    assert!(share >= 0.95, "{share}");
    assert_eq!(pace.doing().learned_interval, None);
}

#[test]
fn it_settles_at_the_messages_of_a_peer_that_says_so_in_words_alone() {
    for r in [5.0, 20.0, 100.0] {
        for seed in 1..4 {
            let peer = Messages::new(r, Counting::Seconds, Throttled::Messages, seed);
            let (share, deferred) = settle(&mut InWords(peer, 0), 20, r);
            println!("{r} a second: {share:.2} of it, {deferred:.3} deferred");
            assert!((0.75..=1.2).contains(&share), "{r}: {share:.3} of it");
            assert!(deferred < 0.2, "{r}: {deferred:.3} deferred");
        }
    }
}
