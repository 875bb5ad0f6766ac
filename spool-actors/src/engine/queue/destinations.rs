//! Destinations: one for each list of next hops, with the line of its due messages and what is about to be sent to it.

use super::phase::Counted;
use super::{AHEAD, Now, Phase, Queue, SWEEP};
use crate::engine::DestinationId;
use crate::engine::World;
use crate::pace::Pace;
use spool_core::{MessageId, NextHop, Timestamp};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Where messages with the same next hops meet.
#[derive(Debug)]
pub(super) struct Destination<W: World> {
    pub(super) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(super) messages: usize,
    /// Due messages in order; those that left by other ways are skipped when their turn comes.
    pub(super) line: VecDeque<MessageId>,
    /// How many in it are really there.
    pub(super) in_line: usize,
    /// The start of their attempt is on disk, and they have no permit.
    pub(super) armed: VecDeque<MessageId>,
    /// Those, and the ones on their way there.
    pub(super) ahead: usize,
    /// Messages with a permit whose session has not started.
    pub(super) permitted: usize,
    /// Permits in hand. They come from sessions that have ended, and start the next ones without a word to the throttle.
    pub(super) permits: Vec<W::Permit>,
    /// Permits that the throttle was asked for and has not granted.
    pub(super) asked: usize,
    /// Sessions.
    pub(super) running: usize,
    /// Whether more than one session has started since it is known: more messages may come.
    pub(super) started: Started,
    /// How many may run, and when.
    pub(super) pace: Pace,
    /// When it is to be looked at because time has passed.
    pub(super) opens: Option<Timestamp>,
    pub(super) dirty: bool,
    /// The host for whose connection it is in line.
    pub(super) busy_host: Option<NextHop>,
}

/// How many sessions have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    Never,
    Once,
    Often,
}

impl Started {
    pub(super) const fn again(self) -> Self {
        match self {
            Self::Never => Self::Once,
            Self::Once | Self::Often => Self::Often,
        }
    }
}

/// A place in front of the sessions of a destination for a message that is being added: the start of its attempt is written with the
/// add itself.
#[derive(Debug)]
pub(crate) enum Reservation<W: World> {
    /// There is none: the message will stand in line.
    None,
    /// One behind the sessions that run.
    Ahead,
    /// One with a permit.
    Permit(W::Permit),
}

impl<W: World> Destination<W> {
    /// Whether its messages have no route in this process: they wait for one.
    pub(super) fn is_nowhere(&self) -> bool {
        self.next_hops.is_empty()
    }

    /// Sessions that may start now, beside those that have a permit.
    pub(super) fn free(&self, now: Timestamp) -> usize {
        match self.is_nowhere() {
            true => 0,
            false => self.pace.free(now, self.running, self.permitted),
        }
    }

    /// Whether the start of another attempt may be written for a message without a permit: only while a session is there, so that
    /// nothing is in doubt about a destination that does not answer.
    pub(super) fn may_arm_ahead(&self, now: Timestamp) -> bool {
        let room = self.pace.room(now, AHEAD).saturating_sub(self.permitted);
        let has_session = self.running + self.permitted > 0;
        has_session && !self.is_nowhere() && self.ahead < room
    }

    /// Whether nothing is there for which it would have to be kept.
    fn is_empty(&self) -> bool {
        self.messages == 0 && self.ahead == 0 && self.permitted == 0 && self.permits.is_empty()
    }
}

impl<W: World> Queue<W> {
    /// The destination for these next hops, made when new; it will have one message more.
    pub(in crate::engine) fn enlist(&mut self, next_hops: &Arc<[NextHop]>, now: Now) -> DestinationId {
        let id = self.destination(next_hops, now);
        if let Some(slot) = self.slot(id) {
            slot.messages += 1;
        }
        id
    }

    /// The message enlisted for `destination` does not come, or has gone. What was learned of a destination without messages
    /// is remembered.
    pub(in crate::engine) fn delist(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.messages = slot.messages.saturating_sub(1);
        }
        self.drop_if_empty(destination);
    }

    fn drop_if_empty(&mut self, destination: DestinationId) {
        let Some(slot) = self.slot(destination).filter(|slot| slot.is_empty()) else {
            return;
        };
        let (hops, pace) = (Arc::clone(&slot.next_hops), slot.pace.clone());
        // One that is empty and free already has another's place in the map.
        if self.by_hops.get(&hops) == Some(&destination) {
            self.by_hops.remove(&hops);
            self.free.push(destination);
            self.ways.rest(hops, pace);
        }
    }

    fn destination(&mut self, next_hops: &Arc<[NextHop]>, now: Now) -> DestinationId {
        if let Some(known) = self.by_hops.get(next_hops) {
            return *known;
        }
        let next_hops = Arc::clone(next_hops);
        let fresh = Destination {
            next_hops: Arc::clone(&next_hops),
            messages: 0,
            line: VecDeque::new(),
            in_line: 0,
            armed: VecDeque::new(),
            ahead: 0,
            permitted: 0,
            permits: Vec::new(),
            asked: 0,
            running: 0,
            started: Started::Never,
            pace: self.ways.pace(&next_hops, now),
            opens: None,
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

    pub(super) fn slot(&mut self, id: DestinationId) -> Option<&mut Destination<W>> {
        self.destinations.get_mut(usize::try_from(id).ok()?)
    }

    pub(super) fn at(&self, id: DestinationId) -> Option<&Destination<W>> {
        self.destinations.get(usize::try_from(id).ok()?)
    }

    /// Takes a place for a message that is being added, if there is one. It is given back by [`Queue::unreserve`], or by what becomes of
    /// the message.
    pub(in crate::engine) fn reserve(&mut self, destination: DestinationId, now: Now) -> Reservation<W> {
        let paused = self.paused;
        let Some(slot) = self.slot(destination).filter(|slot| !paused && slot.in_line == 0) else {
            return Reservation::None;
        };
        if slot.armed.is_empty()
            && slot.free(now.inside) > 0
            && let Some(permit) = slot.permits.pop()
        {
            self.count_permitted(destination, 1);
            return Reservation::Permit(permit);
        }
        if !slot.may_arm_ahead(now.inside) {
            return Reservation::None;
        }
        self.count_ahead(destination, 1);
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
            Reservation::Ahead => self.count_ahead(destination, -1),
            Reservation::Permit(permit) => {
                self.count_permitted(destination, -1);
                self.keep_permit(destination, permit);
            }
        }
    }

    /// A permit is free for the next message of its destination.
    pub(super) fn keep_permit(&mut self, destination: DestinationId, permit: W::Permit) {
        if let Some(slot) = self.slot(destination) {
            slot.permits.push(permit);
        }
        self.touch(destination);
    }

    /// One message more, or less, is counted at a destination.
    pub(super) fn count(&mut self, counted: Counted, destination: DestinationId, by: isize) {
        match counted {
            Counted::Nowhere | Counted::InLine => {}
            Counted::Ahead => self.count_ahead(destination, by),
            Counted::Permitted => self.count_permitted(destination, by),
            Counted::Running => {
                self.running = self.running.saturating_add_signed(by);
                if let Some(slot) = self.slot(destination) {
                    slot.running = slot.running.saturating_add_signed(by);
                }
            }
        }
    }

    fn count_ahead(&mut self, destination: DestinationId, by: isize) {
        self.ahead = self.ahead.saturating_add_signed(by);
        if let Some(slot) = self.slot(destination) {
            slot.ahead = slot.ahead.saturating_add_signed(by);
        }
    }

    fn count_permitted(&mut self, destination: DestinationId, by: isize) {
        self.permitted = self.permitted.saturating_add_signed(by);
        if let Some(slot) = self.slot(destination) {
            slot.permitted = slot.permitted.saturating_add_signed(by);
        }
    }

    /// A message stands in line now, at the end of it.
    pub(super) fn line_up(&mut self, id: MessageId, destination: DestinationId) {
        self.in_line += 1;
        if let Some(slot) = self.slot(destination) {
            slot.in_line += 1;
            slot.line.push_back(id);
        }
    }

    /// One message less is in line, wherever its place was.
    pub(super) fn left_line(&mut self, destination: DestinationId) {
        self.in_line = self.in_line.saturating_sub(1);
        let Some(slot) = self.slot(destination) else {
            return;
        };
        slot.in_line = slot.in_line.saturating_sub(1);
        if slot.line.len() > 2 * slot.in_line + SWEEP {
            let mut line = std::mem::take(&mut slot.line);
            let mut seen = HashSet::new();
            line.retain(|id| self.stands_in(*id, destination) && seen.insert(*id));
            if let Some(slot) = self.slot(destination) {
                slot.line = line;
            }
        }
    }

    /// Whether a message stands in the line of this destination.
    pub(super) fn stands_in(&self, id: MessageId, destination: DestinationId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| matches!(entry.phase, Phase::Ready(_)) && entry.destination == destination)
    }

    /// The destination is to be looked at before this turn ends.
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

    /// Takes permits away that a destination has no use for now: with `all` those that no message is on its way to, otherwise those
    /// beyond what its next messages may need.
    pub(in crate::engine) fn take_idle_permits(
        &mut self,
        destination: DestinationId,
        all: bool,
        now: Now,
    ) -> Vec<W::Permit> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let expected = slot.ahead.min(slot.free(now.inside));
        let keep = match slot.started {
            Started::Often if !all && !slot.is_nowhere() => expected.max(IDLE_PERMITS),
            Started::Never | Started::Once | Started::Often => expected,
        };
        let idle = slot.permits.split_off(keep.min(slot.permits.len()));
        let has_some = !slot.permits.is_empty();
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

    /// Takes away every permit, also of messages that are about to be sent.
    pub(in crate::engine) fn take_all_permits(&mut self) -> Vec<W::Permit> {
        let mut taken: Vec<_> = self
            .destinations
            .iter_mut()
            .flat_map(|slot| slot.permits.drain(..))
            .collect();
        if self.permitted > 0 {
            let mut moved = Vec::new();
            for entry in self.entries.values_mut() {
                if let Some(permit) = entry.phase.take_permit() {
                    taken.push(permit);
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

    /// There was no memory for the head of this line; it waits until there is.
    pub(in crate::engine) fn starve(&mut self, destination: DestinationId) {
        self.starved.insert(destination);
    }

    /// There is memory for it now.
    pub(in crate::engine) fn feed(&mut self, destination: DestinationId) {
        self.starved.remove(&destination);
        self.touch(destination);
    }
}

/// Permits that a destination keeps for its next messages while nobody else waits for them.
const IDLE_PERMITS: usize = 16;
