//! Destinations: one for each list of next hops, with the line of its due messages and what is about to be sent to it.

use super::crowd::Crowd;
use super::phase::{Counted, Counts};
use super::{AHEAD, Phase, Queue, SWEEP};
use crate::engine::{DestinationId, Outlook, PathId, World};
use spool_core::{MessageId, NextHop};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// The place of a destination in the list of all.
const fn place(id: DestinationId) -> usize {
    (id & u32::MAX as DestinationId) as usize
}

/// A permit of a destination.
#[derive(Debug)]
pub(crate) struct Permitted<W: World> {
    pub(crate) permit: W::Permit,
    /// Whether it comes from an attempt that has ended: it starts the next one without asking the throttle, while the path goes on. One that
    /// was granted is counted as an attempt already.
    pub(crate) is_kept: bool,
    /// The path by whose limits it was granted. Its destination may have another one since.
    pub(crate) path: Option<PathId>,
}

/// Where messages with the same next hops meet.
#[derive(Debug, Default)]
pub(super) struct Destination<W: World> {
    /// One that has gone has the id of the next one in its place.
    pub(super) id: DestinationId,
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
    /// Its messages that were deferred lately.
    pub(super) crowd: Crowd,
    pub(super) dirty: bool,
}

impl<W: World> Destination<W> {
    /// Whether its messages have no route in this process: they wait for one.
    pub(super) fn is_nowhere(&self) -> bool {
        self.next_hops.is_empty()
    }

    /// Whether the start of another attempt may be written before its session is there: only while attempts are made and one follows
    /// the other, so that nothing is in doubt about a destination that does not answer.
    pub(super) fn may_arm_ahead(&self, outlook: Option<Outlook>) -> bool {
        self.may_stay_ahead(outlook) && self.counts.ahead < AHEAD
    }

    /// The same for one that is counted as ahead already.
    pub(super) fn may_stay_ahead(&self, outlook: Option<Outlook>) -> bool {
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        let has_session = self.counts.running > 0 || self.permits.iter().any(|permit| permit.is_kept);
        goes_on && has_session && !self.is_nowhere()
    }

    /// Whether a message waits that may become ready when time passes.
    pub(super) fn waits(&self) -> bool {
        (self.counts.in_line > 0 && !self.is_nowhere()) || !self.armed.is_empty()
    }

    /// Whether there is something that the outlook of its path changes.
    pub(super) fn is_under_way(&self) -> bool {
        self.counts.running + self.counts.ahead > 0 || !self.permits.is_empty()
    }

    /// Whether a permit may start an attempt.
    pub(super) fn is_usable(&self, permitted: &Permitted<W>, outlook: Option<Outlook>) -> bool {
        let goes_on = outlook.is_some_and(|outlook| outlook.goes_on);
        !permitted.is_kept || (goes_on && self.path == permitted.path)
    }

    /// Whether there is a permit that may start an attempt.
    pub(super) fn has_permit(&self, outlook: Option<Outlook>) -> bool {
        self.permits.iter().any(|permit| self.is_usable(permit, outlook))
    }

    /// Takes a permit that may start an attempt.
    pub(super) fn take_permit(&mut self, outlook: Option<Outlook>) -> Option<Permitted<W>> {
        let mut permits = self.permits.iter();
        let place = permits.rposition(|permit| self.is_usable(permit, outlook))?;
        Some(self.permits.swap_remove(place))
    }

    /// Whether nothing is there for which it would have to be kept.
    fn is_empty(&self) -> bool {
        self.messages + self.counts.ahead == 0 && self.permits.is_empty()
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
        if !self.at(destination).is_some_and(Destination::is_empty) {
            return;
        }
        self.leave_path(destination);
        let next = destination.wrapping_add(1 << 32);
        if let Some(slot) = self.slot(destination) {
            let gone = std::mem::take(slot);
            slot.id = next;
            self.by_hops.remove(&gone.next_hops);
        }
        self.free.push(next);
        self.gone.push(destination);
    }

    /// Destinations that have gone.
    pub(in crate::engine) fn take_gone(&mut self) -> Vec<DestinationId> {
        std::mem::take(&mut self.gone)
    }

    fn destination(&mut self, next_hops: &Arc<[NextHop]>) -> DestinationId {
        if let Some(known) = self.by_hops.get(next_hops) {
            return *known;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            let id = DestinationId::try_from(self.destinations.len()).unwrap_or(DestinationId::MAX);
            self.destinations.push(Destination {
                id,
                ..Destination::default()
            });
            id
        });
        if let Some(slot) = self.slot(id) {
            slot.next_hops = Arc::clone(next_hops);
        }
        self.by_hops.insert(Arc::clone(next_hops), id);
        id
    }

    /// `None`: it has gone.
    pub(super) fn slot(&mut self, id: DestinationId) -> Option<&mut Destination<W>> {
        let slot = self.destinations.get_mut(place(id));
        slot.filter(|slot| slot.id == id)
    }

    /// `None`: it has gone.
    pub(super) fn at(&self, id: DestinationId) -> Option<&Destination<W>> {
        self.destinations.get(place(id)).filter(|slot| slot.id == id)
    }

    /// Takes a place in front of the sessions of a destination for a message that is being added: the start of its attempt is written with
    /// the add itself. It is given back by [`Queue::unreserve`]. `false`: the message waits in line.
    pub(in crate::engine) fn reserve(&mut self, destination: DestinationId) -> bool {
        let outlook = self.outlook(destination);
        let is_free = |slot: &Destination<W>| slot.counts.in_line == 0 && slot.may_arm_ahead(outlook);
        let reserved = !self.paused && self.at(destination).is_some_and(is_free);
        if reserved {
            self.count(Counted::Ahead, destination, 1);
        }
        reserved
    }

    /// The message of a place that was `reserved` is counted by its phase from now on, or its add has failed.
    pub(in crate::engine) fn unreserve(&mut self, destination: DestinationId, reserved: bool) {
        if reserved {
            self.count(Counted::Ahead, destination, -1);
        }
        self.touch(destination);
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
        let mut all: Vec<_> = self.by_hops.values().copied().collect();
        // The order of a map with random hashes must not decide anything.
        all.sort_unstable();
        all.into_iter().for_each(|id| self.touch(id));
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
