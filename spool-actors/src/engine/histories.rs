//! Random histories of the engine alone, on a virtual clock: thousands of them in seconds.
//!
//! The world round the engine is a disk that keeps what is written and answers late, in batches, and now and then that it is full; next
//! hops that take, refuse and lose mail; the throttle's own machine; and operators. After each turn it is checked that nothing was done
//! which must not be, and at the end that everything was done which must be.

mod answers;
mod disk;
mod jobs;
mod ledger;
mod permits;
mod rest;
mod scripted;
mod sessions;
mod settings;
mod steps;
mod world;

use super::testing::{AT, Paper};
use super::{Now, World};
use spool_core::MessageId;
use std::collections::BTreeSet;
use world::Life;

/// Histories in the suite; `SPOOL_ENGINE_HISTORIES` for another number, `SPOOL_SEED` for another first one.
const HISTORIES: u64 = 10_000;

/// Dice of a history: xorshift64*, so that a seed plays the same choices again.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }
}

/// What histories have seen, so that a change that makes them dull is noticed.
#[derive(Debug, Default)]
struct Tally {
    messages: usize,
    sessions: usize,
    operations: usize,
    full: usize,
    restarts: usize,
    crashes: usize,
    in_doubt: usize,
    keys: usize,
    outcomes: usize,
    idle: usize,
    told: usize,
    divided: usize,
}

/// One history: several lives of an engine over one disk.
fn play(seed: u64, tally: &mut Tally) {
    let mut chance = Chance::new(seed);
    let mut life = Life::begin(&mut chance, None, tally);
    for _ in 0..chance.below(3) {
        life.go_on(&mut chance, tally);
        let crash = chance.one_in(2);
        tally.restarts += 1;
        tally.crashes += usize::from(crash);
        let disk = life.end(crash, tally);
        life = Life::begin(&mut chance, Some(disk), tally);
    }
    life.go_on(&mut chance, tally);
    life.finish(tally);
    let disk = life.end(false, tally);
    tally.told += disk.ledger.told();
    tally.divided += disk.divided;
    let left: BTreeSet<MessageId> = disk.in_flight().collect();
    assert!(left.is_empty(), "in doubt after an orderly end: {left:?}");
}

#[test]
fn whatever_happens_mail_is_sent_once_and_none_is_forgotten() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count) = (
        number("SPOOL_SEED").unwrap_or(1),
        number("SPOOL_ENGINE_HISTORIES").unwrap_or(HISTORIES),
    );
    let mut tally = Tally::default();
    for seed in first..first + count {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed, &mut tally)));
        assert!(
            played.is_ok(),
            "history {seed}: play it again with SPOOL_SEED={seed} SPOOL_ENGINE_HISTORIES=1"
        );
    }
    println!("{tally:?}");
    let rare = [
        tally.operations,
        tally.full,
        tally.restarts,
        tally.crashes,
        tally.in_doubt,
        tally.keys,
        tally.outcomes,
        tally.idle,
        tally.told,
        tally.divided,
    ];
    assert!(
        count < HISTORIES || rare.iter().all(|seen| *seen > 500),
        "{tally:?}"
    );
}
