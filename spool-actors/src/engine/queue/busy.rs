//! Destinations that wait for a connection of a host that has none left: the first one that waits is woken when the agent tells of one.
//!
//! It only hurries what would come by itself: each of them asks again after its own pause.

use super::{Now, Queue, SWEEP};
use crate::engine::DestinationId;
use crate::engine::World;
use spool_core::NextHop;
use std::collections::{HashMap, VecDeque};

/// See the module. In the order of their coming; one that waits elsewhere by now, or no more, means nothing.
#[derive(Debug, Default)]
pub(super) struct BusyHosts {
    lines: HashMap<NextHop, VecDeque<DestinationId>>,
    /// Places in all lines.
    places: usize,
}

#[cfg(test)]
impl BusyHosts {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.places == 0
    }

    pub(super) const fn places(&self) -> usize {
        self.places
    }
}

impl<W: World> Queue<W> {
    /// An attempt to `destination` was not begun: `host` has no connection left.
    pub(in crate::engine) fn waits_for_room(&mut self, destination: DestinationId, host: &NextHop) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        if slot.busy_host.as_ref() == Some(host) {
            return;
        }
        slot.busy_host = Some(host.clone());
        let line = self.busy.lines.entry(host.clone()).or_default();
        line.push_back(destination);
        self.busy.places += 1;
        if self.busy.places > 2 * self.destinations.len() + SWEEP {
            self.sweep_busy();
        }
    }

    /// A connection of `host` may be had: wakes the first destination that waits for one and has a message to send.
    pub(in crate::engine) fn room_at(&mut self, host: &NextHop, now: Now) {
        while let Some(destination) = self.next_at(host) {
            let Some(slot) = self.slot(destination) else {
                continue;
            };
            if slot.busy_host.as_ref() != Some(host) {
                continue;
            }
            slot.busy_host = None;
            if !slot.pace.waits_for_room() {
                continue;
            }
            slot.pace.hurry_for_room(now.inside);
            // What is only about to stand in line again will ask as well.
            let has_some = slot.in_line > 0 || !slot.armed.is_empty();
            self.touch(destination);
            if has_some {
                return;
            }
        }
    }

    fn next_at(&mut self, host: &NextHop) -> Option<DestinationId> {
        let line = self.busy.lines.get_mut(host)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.busy.lines.remove(host);
        }
        self.busy.places -= usize::from(first.is_some());
        first
    }

    /// Drops the places that mean nothing.
    fn sweep_busy(&mut self) {
        let mut lines = std::mem::take(&mut self.busy.lines);
        self.busy.places = 0;
        for (host, line) in &mut lines {
            let waits = |destination: &DestinationId| {
                let slot = usize::try_from(*destination)
                    .ok()
                    .and_then(|id| self.destinations.get(id));
                slot.is_some_and(|slot| slot.busy_host.as_ref() == Some(host))
            };
            line.retain(waits);
            // Of a destination that came, went and came again, one place is enough.
            let mut seen = std::collections::HashSet::new();
            line.retain(|destination| seen.insert(*destination));
            self.busy.places += line.len();
        }
        lines.retain(|_, line| !line.is_empty());
        self.busy.lines = lines;
    }
}
