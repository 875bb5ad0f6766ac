//! The permits that the queue has: of messages that are about to be sent, and of destinations for their next ones.

use super::Queue;
use super::permitted::Permitted;
use super::phase::Counted;
use crate::engine::{DestinationId, World};

/// Permits that a destination keeps for its next messages while no other destination waits for one.
const IDLE_PERMITS: usize = 16;

impl<W: World> Queue<W> {
    /// A permit is free for the next message of its destination.
    pub(super) fn keep_permit(&mut self, destination: DestinationId, permit: Permitted<W>) {
        if let Some(slot) = self.slot(destination) {
            slot.permits.push(permit);
        }
        self.touch(destination);
    }

    /// Takes permits away that a destination has no use for now: with `all`, or where its path must not go on with them, those that no
    /// message is on its way to, otherwise those beyond what its next messages may need.
    pub(in crate::engine) fn take_idle_permits(
        &mut self,
        destination: DestinationId,
        all: bool,
    ) -> Vec<W::Permit> {
        let (outlook, epoch) = (self.outlook(destination), self.epoch);
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        let all = all || !goes_on;
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let expected = slot.counts.ahead;
        // Where more than one has started, more messages may come.
        let keep = match slot.started > 1 && !all && !slot.is_nowhere() {
            true => expected.max(IDLE_PERMITS),
            false => expected,
        };
        let path = slot.path;
        let is_useful = |permitted: &Permitted<W>| permitted.is_usable(path, outlook, epoch);
        // Those that were granted come first.
        slot.permits
            .sort_by_key(|permitted| (!is_useful(permitted), permitted.is_kept));
        let useful = slot.permits.iter().filter(|permitted| is_useful(permitted));
        let keep = keep.min(useful.count());
        let idle: Vec<_> = slot
            .permits
            .split_off(keep)
            .into_iter()
            .map(|permitted| permitted.permit)
            .collect();
        let has_some = !slot.permits.is_empty();
        // Other permits are to be asked for in their place.
        if !idle.is_empty() && slot.counts.in_line + slot.counts.ahead > 0 {
            self.touch(destination);
        }
        match has_some {
            true => self.idle.insert(destination),
            false => self.idle.remove(&destination),
        };
        if !has_some {
            self.drop_if_empty(destination);
        }
        idle
    }

    /// From now on, no attempt starts with a permit that was granted until now.
    pub(in crate::engine) fn revoke_permits(&mut self) {
        self.epoch += 1;
    }

    /// Takes away every permit, also of messages that are about to be sent.
    pub(in crate::engine) fn take_all_permits(&mut self) -> Vec<W::Permit> {
        let mut taken: Vec<_> = self
            .destinations
            .iter_mut()
            .flat_map(|slot| slot.permits.drain(..))
            .map(|permitted| permitted.permit)
            .collect();
        if self.counts.permitted > 0 {
            let mut moved = Vec::new();
            for entry in self.entries.values_mut() {
                if let Some(permit) = entry.phase.take_permit() {
                    taken.push(permit.permit);
                    moved.push(entry.destination);
                }
            }
            for destination in moved {
                self.count(Counted::Permitted, destination, -1);
                self.count(Counted::Ahead, destination, 1);
            }
        }
        self.touch_all();
        taken
    }
}
