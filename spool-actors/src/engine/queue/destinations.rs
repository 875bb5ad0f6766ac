//! Destinations: one for each list of next hops, with the line of its due messages and what is about to be sent to it.

use super::crowd::Crowd;
use super::permitted::Permitted;
use super::phase::{Counted, Counts};
use super::{AHEAD, Phase, Queue, SWEEP};
use crate::engine::{DestinationId, Outlook, PathId, World};
use spool_core::{MessageId, NextHop};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Where messages with the same next hops meet.
#[derive(Debug, Default)]
pub(super) struct Destination<W: World> {
    pub(super) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(super) messages: usize,
    /// Due messages in order; messages that left the line otherwise are skipped when their turn comes.
    pub(super) line: VecDeque<MessageId>,
    /// How many messages are really in the line, and how many are further on.
    pub(super) counts: Counts,
    /// They are in memory and ready to be sent, and have no permit; the start of their attempt may be on disk.
    pub(super) armed: VecDeque<MessageId>,
    /// Permits that no message has.
    pub(super) permits: Vec<Permitted<W>>,
    /// Permits that the throttle was asked for and has not granted.
    pub(super) asked: usize,
    /// Sessions that have started since it is known, counted up to 2.
    pub(super) started: u8,
    /// The path that it shares the limits of.
    pub(super) path: Option<PathId>,
    /// Whether the throttle knows it.
    pub(super) is_told: bool,
    /// Its messages that were deferred lately.
    pub(super) crowd: Crowd,
    pub(super) dirty: bool,
}

/// A place in front of the sessions of a destination for a message that is being added: the start of its attempt is written with the
/// add itself.
#[derive(Debug)]
pub(crate) enum Reservation<W: World> {
    /// No place: the message waits in line.
    None,
    /// One behind the sessions that run.
    Ahead,
    /// One with a permit.
    Permit(Permitted<W>),
}

impl<W: World> Destination<W> {
    /// Whether its messages have no route in this process: they wait for one.
    pub(super) fn is_nowhere(&self) -> bool {
        self.next_hops.is_empty()
    }

    /// Whether the start of another attempt may be written for a message without a permit: only while attempts are made and one follows
    /// the other, so that nothing is in doubt about a destination that does not answer.
    pub(super) fn may_arm_ahead(&self, outlook: Option<Outlook>) -> bool {
        self.may_stay_ahead(outlook) && self.counts.ahead + self.counts.permitted < AHEAD
    }

    /// The same for one that is counted as ahead already.
    pub(super) fn may_stay_ahead(&self, outlook: Option<Outlook>) -> bool {
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        goes_on && self.counts.running + self.counts.permitted > 0 && !self.is_nowhere()
    }

    /// Whether a message waits that may become ready when time passes.
    pub(super) fn waits(&self) -> bool {
        (self.counts.in_line > 0 && !self.is_nowhere()) || !self.armed.is_empty()
    }

    /// Whether there is something that the outlook of its path changes.
    pub(super) fn is_under_way(&self) -> bool {
        self.counts.running + self.counts.permitted + self.counts.ahead > 0 || !self.permits.is_empty()
    }

    /// Takes a permit that may start an attempt.
    pub(super) fn take_permit(&mut self, outlook: Option<Outlook>, epoch: u64) -> Option<Permitted<W>> {
        let usable = |permitted: &Permitted<W>| permitted.is_usable(self.path, outlook, epoch);
        let place = self.permits.iter().rposition(usable)?;
        Some(self.permits.swap_remove(place))
    }

    /// Whether nothing is there for which it would have to be kept.
    fn is_empty(&self) -> bool {
        let is_counted = self.messages + self.counts.ahead + self.counts.permitted + self.asked > 0;
        !is_counted && self.permits.is_empty()
    }
}

impl<W: World> Queue<W> {
    /// The destination for these next hops, made when new; it will have one message more.
    pub(in crate::engine) fn enlist(&mut self, next_hops: &Arc<[NextHop]>) -> DestinationId {
        let id = self.destination(next_hops);
        if let Some(slot) = self.slot(id) {
            slot.messages += 1;
        }
        id
    }

    /// The message enlisted for `destination` does not come, or has gone.
    pub(in crate::engine) fn delist(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.messages = slot.messages.saturating_sub(1);
        }
        self.drop_if_empty(destination);
    }

    pub(super) fn drop_if_empty(&mut self, destination: DestinationId) {
        let Some(slot) = self.slot(destination).filter(|slot| slot.is_empty()) else {
            return;
        };
        let hops = Arc::clone(&slot.next_hops);
        // One that is empty and free already has another's place in the map.
        if self.by_hops.get(&hops) == Some(&destination) {
            self.leave_path(destination);
            self.by_hops.remove(&hops);
            self.gone.push(destination);
        }
    }

    /// Destinations that have gone, and that the throttle knows. Their numbers are used again when it tells nothing more of them: see
    /// [`Queue::left`].
    pub(in crate::engine) fn take_gone(&mut self) -> Vec<DestinationId> {
        let gone = std::mem::take(&mut self.gone);
        let is_told = |id: &DestinationId| self.at(*id).is_some_and(|slot| slot.is_told);
        let (told, unknown): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_told);
        self.free.extend(unknown);
        told
    }

    /// A permit that was on its way to this destination has come, if there was one: another one may have its number.
    pub(in crate::engine) fn left(&mut self, destination: DestinationId) {
        if self.at(destination).is_some() {
            self.free.push(destination);
        }
    }

    fn destination(&mut self, next_hops: &Arc<[NextHop]>) -> DestinationId {
        if let Some(known) = self.by_hops.get(next_hops) {
            return *known;
        }
        let next_hops = Arc::clone(next_hops);
        let fresh = Destination {
            next_hops: Arc::clone(&next_hops),
            ..Destination::default()
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

    /// Whether it has not gone.
    pub(super) fn is_listed(&self, id: DestinationId) -> bool {
        let is_listed = |slot: &Destination<W>| self.by_hops.get(&slot.next_hops) == Some(&id);
        self.at(id).is_some_and(is_listed)
    }

    pub(super) fn slot(&mut self, id: DestinationId) -> Option<&mut Destination<W>> {
        self.destinations.get_mut(usize::try_from(id).ok()?)
    }

    pub(super) fn at(&self, id: DestinationId) -> Option<&Destination<W>> {
        self.destinations.get(usize::try_from(id).ok()?)
    }

    /// Takes a place for a message that is being added, if there is one. It is given back by [`Queue::unreserve`], or by what becomes of
    /// the message.
    pub(in crate::engine) fn reserve(&mut self, destination: DestinationId) -> Reservation<W> {
        let (paused, epoch, outlook) = (self.paused, self.epoch, self.outlook(destination));
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        let Some(slot) = self
            .slot(destination)
            .filter(|slot| !paused && slot.counts.in_line == 0)
        else {
            return Reservation::None;
        };
        if slot.armed.is_empty()
            && goes_on
            && let Some(permit) = slot.take_permit(outlook, epoch)
        {
            self.count(Counted::Permitted, destination, 1);
            return Reservation::Permit(permit);
        }
        if !slot.may_arm_ahead(outlook) {
            return Reservation::None;
        }
        self.count(Counted::Ahead, destination, 1);
        Reservation::Ahead
    }

    /// The add failed: its place is free.
    pub(in crate::engine) fn unreserve(&mut self, destination: DestinationId, reserved: Reservation<W>) {
        self.redeem(destination, reserved);
        self.touch(destination);
    }

    /// The message of a reservation is there: from now on it is counted by its phase.
    pub(super) fn redeem(&mut self, destination: DestinationId, reserved: Reservation<W>) {
        match reserved {
            Reservation::None => {}
            Reservation::Ahead => self.count(Counted::Ahead, destination, -1),
            Reservation::Permit(permit) => {
                self.count(Counted::Permitted, destination, -1);
                self.keep_permit(destination, permit);
            }
        }
    }

    /// One message more, or less, is counted at a destination.
    pub(super) fn count(&mut self, counted: Counted, destination: DestinationId, by: isize) {
        self.counts.add(counted, by);
        if let Some(slot) = self.slot(destination) {
            slot.counts.add(counted, by);
        }
    }

    /// One message less is in line, wherever its place was.
    pub(super) fn left_line(&mut self, destination: DestinationId) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        if slot.line.len() > 2 * slot.counts.in_line + SWEEP {
            let mut line = std::mem::take(&mut slot.line);
            let mut seen = HashSet::new();
            line.retain(|id| self.stands_in(*id, destination) && seen.insert(*id));
            if let Some(slot) = self.slot(destination) {
                slot.line = line;
            }
        }
    }

    /// Whether a message is in the line of this destination.
    pub(super) fn stands_in(&self, id: MessageId, destination: DestinationId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| matches!(entry.phase, Phase::Ready(_)) && entry.destination == destination)
    }

    /// Schedules the destination for this turn.
    pub(in crate::engine) fn touch(&mut self, destination: DestinationId) {
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
    pub(in crate::engine) fn take_dirty(&mut self) -> Vec<DestinationId> {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(slot) = self.slot(*id) {
                slot.dirty = false;
            }
        }
        dirty
    }

    /// There is memory for the first in its line.
    pub(in crate::engine) fn feed(&mut self, destination: DestinationId) {
        self.starved.remove(&destination);
        self.touch(destination);
    }
}
