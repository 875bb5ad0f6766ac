//! The permits that the queue has: of messages that are about to be sent, and of destinations for their next ones.

use super::Queue;
use super::destinations::Started;
use super::permitted::Permitted;
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
        let outlook = self.outlook(destination);
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        let all = all || !goes_on;
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let expected = slot.ahead;
        let keep = match slot.started {
            Started::Often if !all && !slot.is_nowhere() => expected.max(IDLE_PERMITS),
            Started::Never | Started::Once | Started::Often => expected,
        };
        let path = slot.path;
        let is_useful = |permitted: &Permitted<W>| permitted.is_usable(path, outlook);
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
        if !idle.is_empty() && slot.in_line + slot.ahead > 0 {
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

    /// Destinations that have permits and no use for them.
    pub(in crate::engine) fn with_idle_permits(&self) -> Vec<DestinationId> {
        self.idle.iter().copied().collect()
    }

    /// Takes away every permit, also of messages that are about to be sent, and begins another round: permits of adds that are being
    /// written come back by [`Queue::take_outdated`].
    pub(in crate::engine) fn take_all_permits(&mut self) -> Vec<W::Permit> {
        self.round = self.round.wrapping_add(1);
        let mut taken: Vec<_> = self
            .destinations
            .iter_mut()
            .flat_map(|slot| slot.permits.drain(..))
            .map(|permitted| permitted.permit)
            .collect();
        if self.permitted > 0 {
            let mut moved = Vec::new();
            for entry in self.entries.values_mut() {
                if let Some(permit) = entry.phase.take_permit() {
                    taken.push(permit.permit);
                    moved.push(entry.destination);
                }
            }
            for destination in moved {
                self.count_permitted(destination, -1);
                self.count_ahead(destination, 1);
            }
        }
        self.touch_all();
        taken
    }

    /// Permits of a former round, with which no session may start.
    pub(in crate::engine) fn take_outdated(&mut self) -> Vec<W::Permit> {
        std::mem::take(&mut self.outdated)
    }
}
