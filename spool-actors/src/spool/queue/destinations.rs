//! Destinations: one for each list of next hops, with the line of its due messages and its deck.

use super::{DECK, Phase, Queue, SWEEP};
use crate::pace::Pace;
use crate::throttle::DestinationId;
use spool_core::{MessageId, NextHop, Timestamp};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Where messages with the same next hops meet.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(super) messages: usize,
    /// Due messages in order; those that left by other ways are skipped when their turn comes.
    pub(super) ready: VecDeque<MessageId>,
    /// How many in it are really there.
    pub(super) lined_up: usize,
    /// Their begin is on disk.
    pub(super) armed: VecDeque<MessageId>,
    /// Permits that the throttle was asked for and has not granted.
    pub(super) promised: usize,
    /// Sessions.
    pub(super) running: usize,
    /// How many may run, and when.
    pub(super) pace: Pace,
    /// When it is to be looked at because time has passed.
    pub(super) opens: Option<Timestamp>,
    /// Places taken: being read, asked about, written, or armed.
    pub(super) deck: usize,
    pub(super) dirty: bool,
    /// The host for whose connection it is in line.
    pub(super) busy_host: Option<NextHop>,
}

impl Destination {
    /// Whether the begin of another attempt may be written.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        !self.is_nowhere() && self.deck < self.pace.room(now, DECK)
    }

    /// Whether its messages have no route in this process: they wait for one.
    pub(super) fn is_nowhere(&self) -> bool {
        self.next_hops.is_empty()
    }
}

impl Queue {
    /// The destination for these next hops, made when new; it will have one message more.
    pub(in crate::spool) fn enlist(&mut self, next_hops: &Arc<[NextHop]>, now: Timestamp) -> DestinationId {
        let id = self.destination(next_hops, now);
        if let Some(slot) = self.slot(id) {
            slot.messages += 1;
        }
        id
    }

    /// The message enlisted for `destination` does not come, or has gone. What was learned of a destination without messages
    /// is remembered.
    pub(in crate::spool) fn delist(&mut self, destination: DestinationId) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        slot.messages = slot.messages.saturating_sub(1);
        if slot.messages == 0 && slot.deck == 0 {
            let (hops, pace) = (Arc::clone(&slot.next_hops), slot.pace.clone());
            self.by_hops.remove(&hops);
            self.free.push(destination);
            self.ways.rest(hops, pace);
        }
    }

    fn destination(&mut self, next_hops: &Arc<[NextHop]>, now: Timestamp) -> DestinationId {
        if let Some(known) = self.by_hops.get(next_hops) {
            return *known;
        }
        let next_hops = Arc::clone(next_hops);
        let (messages, deck) = (0, 0);
        let fresh = Destination {
            next_hops: Arc::clone(&next_hops),
            messages,
            ready: VecDeque::new(),
            lined_up: 0,
            armed: VecDeque::new(),
            promised: 0,
            running: 0,
            pace: self.ways.pace(&next_hops, now),
            opens: None,
            deck,
            dirty: false,
            busy_host: None,
        };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.slot(id) {
                    *slot = fresh;
                }
                id
            }
            None => {
                self.destinations.push(fresh);
                DestinationId::try_from(self.destinations.len() - 1).unwrap_or(DestinationId::MAX)
            }
        };
        self.by_hops.insert(next_hops, id);
        id
    }

    pub(super) fn slot(&mut self, id: DestinationId) -> Option<&mut Destination> {
        self.destinations.get_mut(usize::try_from(id).ok()?)
    }

    /// Takes a place on the deck for a message that is being added, if there is one: its begin is then written with
    /// the add itself. Given back by [`Queue::cancel_arming`] or by what becomes of the message.
    pub(in crate::spool) fn reserve_deck(&mut self, destination: DestinationId, now: Timestamp) -> bool {
        let paused = self.paused;
        match self.slot(destination) {
            Some(slot) if !paused && slot.has_room(now) && slot.lined_up == 0 => {
                slot.deck += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The add failed: its place on the deck is free.
    pub(in crate::spool) fn cancel_arming(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.deck = slot.deck.saturating_sub(1);
        }
        self.touch(destination);
    }

    pub(in crate::spool) fn arm_now(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.armed.push_back(id);
        }
        self.touch(destination);
    }

    pub(in crate::spool) fn line_up(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.ready.push_back(id);
            slot.lined_up += 1;
            self.ready += 1;
        }
        self.touch(destination);
    }

    /// One message less is in line, wherever its place was.
    pub(in crate::spool) fn left_line(&mut self, destination: DestinationId) {
        self.ready = self.ready.saturating_sub(1);
        let Some(slot) = self.slot(destination) else {
            return;
        };
        slot.lined_up = slot.lined_up.saturating_sub(1);
        if slot.ready.len() > 2 * slot.lined_up + SWEEP {
            let mut line = std::mem::take(&mut slot.ready);
            let mut seen = HashSet::new();
            let in_line = |id: &MessageId| {
                let entry = self.entries.get(id);
                entry.is_some_and(|entry| entry.phase == Phase::Ready && entry.destination == destination)
            };
            line.retain(|id| in_line(id) && seen.insert(*id));
            if let Some(slot) = self.slot(destination) {
                slot.ready = line;
            }
        }
    }

    pub(in crate::spool) fn touch(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination)
            && !slot.dirty
        {
            slot.dirty = true;
            self.dirty.push(destination);
        }
    }

    pub(super) fn touch_all(&mut self) {
        for id in 0..self.destinations.len() {
            self.touch(DestinationId::try_from(id).unwrap_or(DestinationId::MAX));
        }
    }

    /// Destinations where something changed since the last call.
    pub(in crate::spool) fn take_dirty(&mut self) -> Vec<DestinationId> {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(slot) = self.slot(*id) {
                slot.dirty = false;
            }
        }
        dirty
    }

    /// Whether there are any.
    pub(in crate::spool) const fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// There was no memory for the head of this line; it waits until there is.
    pub(in crate::spool) fn starve(&mut self, destination: DestinationId) {
        self.starved.insert(destination);
    }

    /// There is memory for it now.
    pub(in crate::spool) fn feed(&mut self, destination: DestinationId) {
        self.starved.remove(&destination);
        self.touch(destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_attempts_of_a_destination_have_begun_on_disk_than_its_deck_holds() {
        let (mut queue, now) = (Queue::default(), Timestamp(1_800_000_000_000));
        let hops: Arc<[NextHop]> = ["mx.example.net:25".parse().unwrap()].into();
        let destination = queue.enlist(&hops, now);
        let taken = (0..DECK + 10)
            .filter(|_| queue.reserve_deck(destination, now))
            .count();
        assert_eq!(taken, 64);
        queue.cancel_arming(destination);
        assert!(queue.reserve_deck(destination, now), "a place came back");
    }
}
