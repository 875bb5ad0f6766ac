//! The arithmetic of permits: one global limit, shared out fairly between destinations.
//!
//! The next permit goes to the destination that has the fewest of those out, in turns among equals: one whose sessions hang
//! keeps what it has, and gets no more while others want some. How many sessions one destination takes is not its business.

use crate::engine::DestinationId;
use spool_core::Hold;
use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Default)]
struct Slot {
    waiting: usize,
    /// Permits out that were given under the limit of now.
    recent: usize,
    /// Since when it waits for its turn, if it does.
    turn: Option<u64>,
}

/// Who waits, who runs, whose turn it is.
#[derive(Debug)]
pub(crate) struct Machine {
    max: usize,
    epoch: u64,
    running: usize,
    slots: HashMap<DestinationId, Slot>,
    /// Those that wait: by the permits they have out, then by the turns that have passed since.
    turns: BTreeSet<(usize, u64, DestinationId)>,
    last_turn: u64,
}

impl Machine {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            epoch: 0,
            running: 0,
            slots: HashMap::new(),
            turns: BTreeSet::new(),
            last_turn: 0,
        }
    }

    pub(crate) fn demand(&mut self, destination: DestinationId, more: usize) {
        self.change(destination, |slot| slot.waiting += more);
    }

    pub(crate) fn release(&mut self, destination: DestinationId, epoch: u64) {
        if epoch == self.epoch {
            self.running = self.running.saturating_sub(1);
            self.change(destination, |slot| slot.recent = slot.recent.saturating_sub(1));
        }
    }

    /// A new limit for the sessions that start from now on; those running are no longer counted.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.epoch += 1;
        self.running = 0;
        for destination in self.slots.keys().copied().collect::<Vec<_>>() {
            self.change(destination, |slot| slot.recent = 0);
        }
    }

    /// Every limit that holds back an attempt to `destination`: the same that [`Machine::next`] asks.
    pub(crate) fn holds(&self, destination: DestinationId) -> Vec<Hold> {
        if self.max == 0 {
            // Delivery is paused: the queue tells of that.
            return Vec::new();
        }
        let recent = self.slots.get(&destination).map_or(0, |slot| slot.recent);
        let fair = self
            .is_greedy(recent)
            .then_some(Hold::FairShare { max: self.share() });
        self.global_hold().into_iter().chain(fair).collect()
    }

    /// Whether permits are waited for. To be asked when none can be granted.
    pub(crate) fn is_contended(&self) -> bool {
        !self.turns.is_empty()
    }

    fn global_hold(&self) -> Option<Hold> {
        let (max, running) = (self.max, self.running);
        (running >= max).then_some(Hold::JobsLimit { max, running })
    }

    /// One destination never takes the last quarter of the jobs: whoever comes next finds some.
    fn share(&self) -> usize {
        (self.max - self.max / 4).max(1)
    }

    fn is_greedy(&self, recent: usize) -> bool {
        recent >= self.share()
    }

    /// The next permit, if one may be given.
    pub(crate) fn next(&mut self) -> Option<(DestinationId, u64)> {
        let (recent, _, destination) = *self.turns.first()?;
        // Nobody has fewer.
        if self.global_hold().is_some() || self.is_greedy(recent) {
            return None;
        }
        self.running += 1;
        self.change(destination, |slot| {
            slot.waiting = slot.waiting.saturating_sub(1);
            slot.recent += 1;
            // The next turn comes after everybody else's.
            slot.turn = None;
        });
        Some((destination, self.epoch))
    }

    /// Changes a slot and moves it to its place in the turns.
    fn change(&mut self, destination: DestinationId, change: impl FnOnce(&mut Slot)) {
        let slot = self.slots.entry(destination).or_default();
        if let Some(turn) = slot.turn {
            self.turns.remove(&(slot.recent, turn, destination));
        }
        change(slot);
        if slot.waiting > 0 {
            let turn = *slot.turn.get_or_insert_with(|| {
                self.last_turn += 1;
                self.last_turn
            });
            self.turns.insert((slot.recent, turn, destination));
        } else {
            slot.turn = None;
            if slot.recent == 0 {
                self.slots.remove(&destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    fn grants(machine: &mut Machine) -> Vec<DestinationId> {
        std::iter::from_fn(|| machine.next())
            .map(|(destination, _)| destination)
            .collect()
    }

    #[test]
    fn destinations_take_turns_within_the_limit() {
        let mut machine = Machine::new(8);
        machine.demand(1, 100);
        machine.demand(2, 1);
        machine.demand(3, 2);
        assert_eq!(grants(&mut machine), [1, 2, 3, 1, 3, 1, 1, 1]);
        machine.release(3, 0);
        assert_eq!(grants(&mut machine), [1]);
    }

    #[test]
    fn one_destination_leaves_room_for_the_others() {
        let mut machine = Machine::new(8);
        machine.demand(1, 100);
        assert_eq!(grants(&mut machine).len(), 6);
        machine.demand(2, 9);
        assert_eq!(grants(&mut machine), [2, 2]);
    }

    #[test]
    fn who_has_fewest_comes_first() {
        let mut machine = Machine::new(8);
        machine.demand(1, 100);
        grants(&mut machine);
        machine.demand(2, 100);
        machine.demand(3, 100);
        assert_eq!(grants(&mut machine), [2, 3]);
        for _ in 0..4 {
            machine.release(1, 0);
        }
        assert_eq!(grants(&mut machine), [2, 3, 1, 2]);
    }

    #[test]
    fn zero_pauses_and_a_new_limit_counts_only_new_sessions() {
        let mut machine = Machine::new(0);
        machine.demand(1, 5);
        assert!(grants(&mut machine).is_empty());
        machine.set_max(2);
        assert_eq!(grants(&mut machine).len(), 2);
        machine.set_max(2);
        assert_eq!(grants(&mut machine).len(), 2);
        machine.release(1, 1);
        assert!(grants(&mut machine).is_empty());
        machine.release(1, 2);
        assert_eq!(grants(&mut machine).len(), 1);
    }

    /// Ten destinations with more mail than can go out, sessions of a tenth of a second; `hangs` begins to hang after ten
    /// seconds. Permits that the nine others had between the twentieth second and the sixtieth.
    fn granted_to_nine(jobs: usize, hangs: bool) -> usize {
        let mut machine = Machine::new(jobs);
        (0..10).for_each(|destination| machine.demand(destination, 100_000));
        let mut ends = BinaryHeap::new();
        let (mut now, mut granted) = (0, 0);
        while now < 60_000 {
            while let Some((destination, epoch)) = machine.next() {
                if destination > 0 && now >= 20_000 {
                    granted += 1;
                }
                if !(hangs && destination == 0 && now >= 10_000) {
                    // Not all in step.
                    let span = 90 + (now * 7 + u64::from(destination) * 13) % 20;
                    ends.push(Reverse((now + span, destination, epoch)));
                }
            }
            let Some(Reverse((at, destination, epoch))) = ends.pop() else {
                break;
            };
            now = at;
            machine.release(destination, epoch);
        }
        granted
    }

    #[test]
    fn one_hanging_destination_of_ten_takes_nothing_from_the_others() {
        for jobs in [10, 20, 40, 200] {
            let (before, after) = (granted_to_nine(jobs, false), granted_to_nine(jobs, true));
            println!("{jobs} jobs: {before} permits for nine destinations, {after} beside one that hangs");
            assert!(after * 100 >= before * 95, "{jobs} jobs: {after} of {before}");
        }
    }

    proptest::proptest! {
        #[test]
        fn limits_hold_whatever_happens(steps in proptest::collection::vec((0_u32..4, 0_usize..6, 0..4), 1..200), max in 0_usize..7) {
            let mut machine = Machine::new(max);
            let mut out: Vec<(DestinationId, u64)> = Vec::new();
            for (destination, n, what) in steps {
                match what {
                    0 => machine.demand(destination, n),
                    1 if !out.is_empty() => {
                        let (destination, epoch) = out.swap_remove(n % out.len());
                        machine.release(destination, epoch);
                    }
                    _ => {}
                }
                out.extend(std::iter::from_fn(|| machine.next()));
                proptest::prop_assert!(out.len() <= max);
            }
            // Nothing is stuck: once all came back, whoever waits is served, and nothing is left behind.
            while let Some((destination, epoch)) = out.pop() {
                machine.release(destination, epoch);
                out.extend(std::iter::from_fn(|| machine.next()));
            }
            proptest::prop_assert!(max == 0 || (machine.slots.is_empty() && machine.turns.is_empty() && machine.running == 0));
        }
    }
}
