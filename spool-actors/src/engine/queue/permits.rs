//! The permits that destinations have for the next of their messages.

use super::Queue;
use super::destinations::Permitted;
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
            self.idle.remove(&destination);
            return Vec::new();
        };
        let expected = slot.counts.ahead;
        // Where more than one has started, more messages may come.
        let keep = match slot.started > 1 && !all && !slot.is_nowhere() {
            true => expected.max(IDLE_PERMITS),
            false => expected,
        };
        // Those that were granted come first.
        let (mut permits, unusable): (Vec<_>, Vec<_>) = std::mem::take(&mut slot.permits)
            .into_iter()
            .partition(|permit| slot.is_usable(permit, outlook));
        permits.sort_by_key(|permitted| permitted.is_kept);
        let rest = permits.split_off(keep.min(permits.len()));
        slot.permits = permits;
        let idle: Vec<_> = rest
            .into_iter()
            .chain(unusable)
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

    /// Takes away every permit. From now on, no attempt starts with one that was granted until now.
    pub(in crate::engine) fn revoke_permits(&mut self) -> Vec<W::Permit> {
        self.epoch += 1;
        self.touch_all();
        let all = self.destinations.iter_mut();
        let all = all.flat_map(|slot| slot.permits.drain(..));
        all.map(|permitted| permitted.permit).collect()
    }
}
