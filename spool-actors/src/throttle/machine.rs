//! The arithmetic of permits: one global limit, one per destination, and turns.

use super::DestinationId;
use spool_core::Hold;
use std::collections::{HashMap, VecDeque};

#[derive(Debug, Default)]
struct Slot {
    waiting: usize,
    running: usize,
    /// Of those running, how many started under the limit of now.
    recent: usize,
    queued: bool,
}

/// Who waits, who runs, whose turn it is.
#[derive(Debug)]
pub(super) struct Machine {
    max: usize,
    per_destination: usize,
    epoch: u64,
    running: usize,
    slots: HashMap<DestinationId, Slot>,
    turns: VecDeque<DestinationId>,
}

impl Machine {
    pub(super) fn new(max: usize, per_destination: usize) -> Self {
        Self {
            max,
            per_destination,
            epoch: 0,
            running: 0,
            slots: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn demand(&mut self, destination: DestinationId, more: usize) {
        self.slots.entry(destination).or_default().waiting += more;
        self.queue(destination);
    }

    pub(super) fn release(&mut self, destination: DestinationId, epoch: u64) {
        let recent = usize::from(epoch == self.epoch);
        self.running = self.running.saturating_sub(recent);
        if let Some(slot) = self.slots.get_mut(&destination) {
            slot.running = slot.running.saturating_sub(1);
            slot.recent = slot.recent.saturating_sub(recent);
        }
        self.queue(destination);
    }

    /// A new limit for the sessions that start from now on; those running are no longer counted.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.epoch += 1;
        self.running = 0;
        for (destination, slot) in &mut self.slots {
            slot.recent = 0;
            if slot.waiting > 0 && !slot.queued {
                slot.queued = true;
                self.turns.push_back(*destination);
            }
        }
    }

    /// Every limit that holds back an attempt to `destination`: the same that [`Machine::next`] asks.
    pub(super) fn holds(&self, destination: DestinationId) -> Vec<Hold> {
        let slot = self.slots.get(&destination);
        let own = slot.map(|slot| Self::destination_holds(slot, self.max, self.per_destination));
        self.global_hold()
            .into_iter()
            .chain(own.unwrap_or_default())
            .collect()
    }

    fn global_hold(&self) -> Option<Hold> {
        let (max, running) = (self.max, self.running);
        // 0 is a pause, which the queue tells of.
        (running >= max).then_some(Hold::JobsLimit { max, running })
    }

    fn destination_holds(slot: &Slot, jobs: usize, max: usize) -> Vec<Hold> {
        // One destination never takes the last quarter of the jobs: when it hangs, the others go on.
        let share = (jobs - jobs / 4).max(1);
        let running = slot.running;
        let limit = (running >= max).then_some(Hold::DestinationLimit { max, running });
        let fair = (slot.recent >= share).then_some(Hold::FairShare { max: share });
        limit.into_iter().chain(fair).collect()
    }

    /// The next permit, if one may be given.
    pub(super) fn next(&mut self) -> Option<(DestinationId, u64)> {
        for _ in 0..self.turns.len() {
            if self.global_hold().is_some() {
                return None;
            }
            let destination = self.turns.pop_front()?;
            let Some(slot) = self.slots.get_mut(&destination) else {
                continue;
            };
            slot.queued = false;
            if slot.waiting == 0 || !Self::destination_holds(slot, self.max, self.per_destination).is_empty()
            {
                // Back in the turns when it asks again or when one of its permits comes back.
                if slot.waiting == 0 && slot.running == 0 {
                    self.slots.remove(&destination);
                }
                continue;
            }
            slot.waiting -= 1;
            slot.running += 1;
            slot.recent += 1;
            self.running += 1;
            self.queue(destination);
            return Some((destination, self.epoch));
        }
        None
    }

    fn queue(&mut self, destination: DestinationId) {
        let Some(slot) = self.slots.get_mut(&destination) else {
            return;
        };
        if slot.waiting == 0 {
            if slot.running == 0 && !slot.queued {
                self.slots.remove(&destination);
            }
        } else if !slot.queued {
            slot.queued = true;
            self.turns.push_back(destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(machine: &mut Machine) -> Vec<DestinationId> {
        std::iter::from_fn(|| machine.next())
            .map(|(destination, _)| destination)
            .collect()
    }

    #[test]
    fn destinations_take_turns_within_the_limit() {
        let mut machine = Machine::new(8, 10);
        machine.demand(1, 100);
        machine.demand(2, 1);
        machine.demand(3, 2);
        assert_eq!(grants(&mut machine), [1, 2, 3, 1, 3, 1, 1, 1]);
        machine.release(3, 0);
        assert_eq!(grants(&mut machine), [1]);
    }

    #[test]
    fn one_destination_leaves_room_for_the_others() {
        let mut machine = Machine::new(8, 100);
        machine.demand(1, 100);
        assert_eq!(grants(&mut machine).len(), 6);
        machine.demand(2, 9);
        assert_eq!(grants(&mut machine), [2, 2]);
    }

    #[test]
    fn zero_pauses_and_a_new_limit_counts_only_new_sessions() {
        let mut machine = Machine::new(0, 10);
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

    proptest::proptest! {
        #[test]
        fn limits_hold_whatever_happens(steps in proptest::collection::vec((0_u32..4, 0_usize..6, 0..4), 1..200), max in 0_usize..7) {
            let mut machine = Machine::new(max, 3);
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
                for d in 0..4 {
                    proptest::prop_assert!(out.iter().filter(|(o, _)| *o == d).count() <= 3);
                }
            }
            // Nothing is stuck: once all came back, whoever waits is served.
            for (destination, epoch) in out.drain(..) {
                machine.release(destination, epoch);
            }
            machine.demand(9, 1);
            let served = std::iter::from_fn(|| machine.next()).count();
            proptest::prop_assert!(max == 0 || served > 0);
        }
    }
}
