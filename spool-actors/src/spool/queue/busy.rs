//! Destinations that wait for a connection of a host that has none left: the first one that waits is woken when the agent tells of one.
//!
//! It only hurries what would come by itself: each of them asks again after its own pause.

use super::{Queue, SWEEP};
use crate::throttle::DestinationId;
use spool_core::{NextHop, Timestamp};
use std::collections::{HashMap, VecDeque};

/// See the module. In the order of their coming; one that waits elsewhere by now, or no more, means nothing.
#[derive(Debug, Default)]
pub(super) struct BusyHosts {
    lines: HashMap<NextHop, VecDeque<DestinationId>>,
    /// Places in all lines.
    places: usize,
}

impl Queue {
    /// An attempt to `destination` was not begun: `host` has no connection left.
    pub(in crate::spool) fn waits_for_room(&mut self, destination: DestinationId, host: &NextHop) {
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
    pub(in crate::spool) fn room_at(&mut self, host: &NextHop, now: Timestamp) {
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
            slot.pace.hurry_for_room(now);
            // What is only about to stand in line again will ask as well.
            let has_some = slot.lined_up > 0 || !slot.armed.is_empty();
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

#[cfg(test)]
mod tests {
    use super::super::{Destination, Ways};
    use super::*;
    use crate::pace::Signal;
    use spool_core::{MessageId, NoDice, Policies, Routing};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn hop(text: &str) -> NextHop {
        text.parse().unwrap()
    }

    /// A queue with `count` destinations, each with a message in line that was not begun at the host `a:25`.
    fn waiting(count: usize) -> (Queue, Vec<DestinationId>) {
        let mut queue = Queue::new(Ways::new(10, Policies::default(), Vec::new()), Routing::default());
        let ids = (0..count).map(|n| {
            let hops: Arc<[NextHop]> = [hop(&format!("mx:d{n}.example:25"))].into();
            let id = queue.enlist(&hops, NOW);
            in_vain(queue.slot(id).unwrap());
            queue.slot(id).unwrap().lined_up = 1;
            queue.waits_for_room(id, &hop("a:25"));
            id
        });
        let ids = ids.collect();
        queue.take_dirty();
        (queue, ids)
    }

    fn in_vain(slot: &mut Destination) {
        let begun = slot.pace.begin(NOW, 0);
        let reason = "all connections are in use".to_owned();
        slot.pace
            .end(&Signal::NotBegun { reason }, begun, NOW, 1, &NoDice);
        slot.armed = VecDeque::<MessageId>::new();
    }

    #[test]
    fn one_destination_is_woken_for_each_connection_in_the_order_of_their_coming() {
        let (mut queue, ids) = waiting(3);
        queue.room_at(&hop("b:25"), NOW);
        assert!(queue.take_dirty().is_empty());
        for id in &ids {
            assert_eq!(queue.slot(*id).unwrap().pace.free(NOW, 0, 0), 0);
            // It is there once.
            queue.waits_for_room(*id, &hop("a:25"));
            queue.room_at(&hop("a:25"), NOW);
            assert_eq!(queue.take_dirty(), [*id]);
            assert_eq!(queue.slot(*id).unwrap().pace.free(NOW, 0, 0), 1);
        }
        queue.room_at(&hop("a:25"), NOW);
        assert!(queue.take_dirty().is_empty() && queue.busy.lines.is_empty() && queue.busy.places == 0);
    }

    #[test]
    fn a_connection_goes_by_those_that_have_nothing_to_send_or_wait_elsewhere() {
        let (mut queue, ids) = waiting(3);
        queue.slot(ids[0]).unwrap().lined_up = 0;
        queue.waits_for_room(ids[1], &hop("b:25"));
        queue.room_at(&hop("a:25"), NOW);
        assert_eq!(queue.take_dirty(), [ids[0], ids[2]]);
        queue.room_at(&hop("b:25"), NOW);
        assert_eq!(queue.take_dirty(), [ids[1]]);
    }

    #[test]
    fn places_that_mean_nothing_are_swept_out() {
        let (mut queue, ids) = waiting(1);
        for n in 0..10_000 {
            queue.waits_for_room(ids[0], &hop(&format!("h{}:25", n % 100)));
        }
        assert!(queue.busy.places <= 2 + SWEEP, "{}", queue.busy.places);
        queue.room_at(&hop("h99:25"), NOW);
        assert_eq!(queue.take_dirty(), [ids[0]]);
    }
}
