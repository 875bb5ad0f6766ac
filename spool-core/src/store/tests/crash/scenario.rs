//! Scenarios: all that a store can do, in an order, in sizes and in batches that a seed draws.
//!
//! Each one has every kind of step in it at least once, and writes enough for several segments.

use super::super::*;
use crate::store::tests::crash::world::mail;
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `count`.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % count
    }

    fn of<T: Copy>(&mut self, all: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = all.into_iter().collect();
        (!all.is_empty()).then(|| all[self.below(all.len() as u64) as usize])
    }
}

/// What is done at once.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Commit(Vec<Change>),
    Quarantine(Vec<u128>, Bytes),
    Remove(Vec<u128>),
    Recover(Archive, Vec<u128>),
    Purge(Vec<u128>),
    Restart,
}

#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) options: StoreOptions,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Add,
    Named,
    Begin,
    Defer,
    Freeze,
    Reroute,
    Conclude,
    Deliver,
    Note,
    Quarantine,
    Remove,
    RecoverRemoved,
    RecoverQuarantined,
    Purge,
    Restart,
}

/// Each as often as it is drawn.
const KINDS: [(Kind, usize); 15] = [
    (Kind::Add, 6),
    (Kind::Named, 2),
    (Kind::Begin, 3),
    (Kind::Defer, 3),
    (Kind::Freeze, 4),
    (Kind::Reroute, 2),
    (Kind::Conclude, 3),
    (Kind::Deliver, 5),
    (Kind::Note, 1),
    (Kind::Quarantine, 2),
    (Kind::Remove, 3),
    (Kind::RecoverRemoved, 1),
    (Kind::RecoverQuarantined, 1),
    (Kind::Purge, 1),
    (Kind::Restart, 1),
];
/// What a scenario writes at least.
const ENOUGH: usize = 5 * MIN_SEGMENT as usize;
const MAX_RESTARTS: usize = 2;

struct Author {
    dice: Dice,
    last: u128,
    /// Live ones, and whether they are frozen.
    live: BTreeMap<u128, bool>,
    removed: BTreeSet<u128>,
    quarantined: BTreeSet<u128>,
    done: BTreeSet<Kind>,
    restarts: usize,
    written: usize,
    batch: Vec<Change>,
    steps: Vec<Step>,
}

impl Scenario {
    pub(super) fn new(seed: u64) -> Self {
        let mut author = Author {
            dice: Dice(seed),
            last: 0,
            live: BTreeMap::new(),
            removed: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            done: BTreeSet::new(),
            restarts: 0,
            written: 0,
            batch: Vec::new(),
            steps: Vec::new(),
        };
        let mut options = options();
        if author.dice.below(4) == 0 {
            // Old events are given up on the way.
            options.event_log_size = 6000;
        }
        while author.done.len() < KINDS.len() || author.written < ENOUGH {
            let kind = author.draw();
            author.write(kind);
        }
        author.end_batch();
        let steps = author.steps;
        Self { options, steps }
    }
}

impl Author {
    /// The next kind: now and then one that is missing yet.
    fn draw(&mut self) -> Kind {
        let possible: Vec<Kind> = KINDS
            .iter()
            .flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times))
            .filter(|kind| self.can(*kind))
            .collect();
        let missing = possible.iter().copied().filter(|kind| !self.done.contains(kind));
        let missing: Vec<Kind> = missing.collect();
        if self.dice.below(5) == 0
            && let Some(kind) = self.dice.of(missing)
        {
            return kind;
        }
        self.dice.of(possible).unwrap()
    }

    fn can(&self, kind: Kind) -> bool {
        match kind {
            Kind::Add | Kind::Named | Kind::Note | Kind::Quarantine => true,
            Kind::Begin | Kind::Defer | Kind::Freeze | Kind::Reroute | Kind::Conclude | Kind::Deliver => {
                !self.live.is_empty()
            }
            Kind::Remove => self.live.values().any(|frozen| *frozen),
            Kind::RecoverRemoved | Kind::Purge => !self.removed.is_empty(),
            Kind::RecoverQuarantined => !self.quarantined.is_empty(),
            Kind::Restart => self.restarts < MAX_RESTARTS && !self.steps.is_empty(),
        }
    }

    fn write(&mut self, kind: Kind) {
        self.done.insert(kind);
        let live: Vec<u128> = self.live.keys().copied().collect();
        let one = self.dice.of(live).unwrap_or_default();
        let due = 2000 + self.dice.below(9000) as i64;
        match kind {
            Kind::Add | Kind::Named => self.add(kind == Kind::Named),
            Kind::Begin => self.batch.push(begin(one, due)),
            Kind::Defer => {
                self.live.insert(one, false);
                self.batch.push(defer(one, due));
            }
            Kind::Freeze => {
                self.live.insert(one, true);
                self.batch.push(freeze(one));
            }
            Kind::Reroute => self.batch.push(Change::Route {
                id: id(one),
                next_hops: [format!("hop{due}.example:25").parse().unwrap()].into(),
                origin: RouteOrigin::Configured,
                events: vec![],
            }),
            Kind::Conclude => self.conclude(one, due),
            Kind::Deliver => {
                self.live.remove(&one);
                self.batch.push(finish(one));
            }
            Kind::Note => self.batch.push(Change::Note {
                events: vec![event(9000 + u128::from(due.unsigned_abs()), EventKind::Bounced)],
            }),
            Kind::Quarantine => {
                let ids = self.new_ids(2);
                let body = self.body();
                self.quarantined.extend(&ids);
                self.step(Step::Quarantine(ids, body));
            }
            Kind::Remove => {
                let frozen = self.live.iter().filter(|(_, frozen)| **frozen);
                let ids = frozen.map(|(id, _)| *id).collect();
                let ids = self.some(ids);
                self.live.retain(|id, _| !ids.contains(id));
                self.removed.extend(&ids);
                self.step(Step::Remove(ids));
            }
            Kind::RecoverRemoved => {
                let ids = self.some(self.removed.iter().copied().collect());
                self.removed.retain(|id| !ids.contains(id));
                self.recover(Archive::Removed, ids);
            }
            Kind::RecoverQuarantined => {
                let ids = self.some(self.quarantined.iter().copied().collect());
                self.quarantined.retain(|id| !ids.contains(id));
                self.recover(Archive::Quarantine, ids);
            }
            Kind::Purge => {
                let ids = self.some(self.removed.iter().copied().collect());
                self.removed.retain(|id| !ids.contains(id));
                self.step(Step::Purge(ids));
            }
            Kind::Restart => {
                self.restarts += 1;
                self.step(Step::Restart);
            }
        }
        if self.batch.len() >= 5 || self.dice.below(3) == 0 {
            self.end_batch();
        }
    }

    fn add(&mut self, named: bool) {
        let ids = self.new_ids(3);
        self.live.extend(ids.iter().map(|id| (*id, false)));
        let mut change = add(&ids, self.body());
        if let (true, Change::Add(addition)) = (named, &mut change) {
            addition.key = Some(AddKey::new(format!("name {}", ids[0])));
        }
        self.batch.push(change);
    }

    /// Another message comes in the place of `one`, or beside it.
    fn conclude(&mut self, one: u128, due: i64) {
        let ids = self.new_ids(2);
        let mut change = add(&ids, self.body());
        let (outcome, kind) = if self.dice.below(2) == 0 {
            self.live.remove(&one);
            (Outcome::Finish(Finish::Delivered), EventKind::Bounced)
        } else {
            self.live.insert(one, false);
            let state = Outcome::State(Box::new(state(one, due)));
            (state, EventKind::Delayed(Timestamp(due)))
        };
        self.live.extend(ids.iter().map(|id| (*id, false)));
        if let Change::Add(addition) = &mut change {
            let id = id(one);
            addition.conclusion = Some(Conclusion { id, outcome });
            addition.events.push(event(one, kind));
        }
        self.batch.push(change);
    }

    fn recover(&mut self, archive: Archive, ids: Vec<u128>) {
        self.live.extend(ids.iter().map(|id| (*id, true)));
        self.step(Step::Recover(archive, ids));
    }

    /// Up to `most` ids that were never used.
    fn new_ids(&mut self, most: u64) -> Vec<u128> {
        let count = 1 + u128::from(self.dice.below(most));
        let first = self.last + 1;
        self.last += count;
        (first..first + count).collect()
    }

    /// One to three of them.
    fn some(&mut self, mut all: Vec<u128>) -> Vec<u128> {
        let count = 1 + self.dice.below(3) as usize;
        while all.len() > count {
            all.remove(self.dice.below(all.len() as u64) as usize);
        }
        all
    }

    /// Small, of some sectors, nearly a segment, or more than one.
    fn body(&mut self) -> Bytes {
        let (least, more) = match self.dice.below(20) {
            0..8 => (1, 3000),
            8..16 => (5000, 25_000),
            16..19 => (40_000, 24_000),
            _ => (66_000, 50_000),
        };
        let size = least + self.dice.below(more) as usize;
        self.written += size;
        mail(self.last, size)
    }

    fn step(&mut self, step: Step) {
        self.end_batch();
        self.steps.push(step);
    }

    fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            self.steps.push(Step::Commit(std::mem::take(&mut self.batch)));
        }
    }
}
