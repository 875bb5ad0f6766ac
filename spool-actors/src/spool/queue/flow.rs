//! How messages flow from the line of a destination over its deck into sessions, as its pace allows; and what becomes of the
//! deck when it allows nothing.

use super::destinations::Destination;
use super::{Phase, Queue, SWEEP};
use crate::pace::{Begun, Doing, Effect, Signal};
use crate::throttle::DestinationId;
use spool_core::{Dice, LearnedDestination, MessageId, NextHop, Policies, Timestamp};
use std::cmp::Reverse;
use std::sync::Arc;

/// A destination as it is now.
#[derive(Debug)]
pub(in crate::spool) struct Sight {
    pub(in crate::spool) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(in crate::spool) messages: usize,
    /// Those that are due.
    pub(in crate::spool) waiting: usize,
    /// Sessions.
    pub(in crate::spool) running: usize,
    pub(in crate::spool) doing: Doing,
}

impl Destination {
    /// Whether something is under way or could be without the clock going on.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        let waits = (self.lined_up > 0 && !self.is_nowhere()) || self.armed.len() > self.promised;
        let under_way = self.promised > 0 || self.deck > self.armed.len();
        under_way || (waits && self.pace.opens_at(now).is_none())
    }
}

impl Queue {
    /// How many permits to ask for: as many as armed messages may start.
    pub(in crate::spool) fn take_promises(&mut self, destination: DestinationId, now: Timestamp) -> usize {
        let Some(slot) = self.slot(destination) else {
            return 0;
        };
        let waiting = slot.armed.len().saturating_sub(slot.promised);
        let more = waiting.min(slot.pace.free(now, slot.running, slot.promised));
        slot.promised += more;
        more
    }

    /// A permit was granted: takes the next armed message, if it may still start.
    pub(super) fn depart(
        &mut self,
        destination: DestinationId,
        now: Timestamp,
    ) -> Option<(MessageId, Begun)> {
        // Whether it starts or not: what waits is to be looked at again.
        self.touch(destination);
        let slot = self.slot(destination)?;
        slot.promised = slot.promised.saturating_sub(1);
        if slot.pace.free(now, slot.running, 0) == 0 {
            return None;
        }
        let id = slot.armed.pop_front()?;
        slot.deck = slot.deck.saturating_sub(1);
        let begun = slot.pace.begin(now, slot.running);
        slot.running += 1;
        Some((id, begun))
    }

    /// The session of a message has ended, and says `signal` about its destination.
    pub(in crate::spool) fn observe(
        &mut self,
        id: MessageId,
        session: Option<Begun>,
        signal: &Signal,
        now: Timestamp,
        dice: &dyn Dice,
    ) -> Option<(DestinationId, Effect)> {
        let destination = self.entries.get(&id)?.destination;
        self.touch(destination);
        let slot = self.slot(destination)?;
        let effect = session.map(|session| slot.pace.end(signal, session, now, slot.running, dice));
        slot.running = slot.running.saturating_sub(1);
        Some((destination, effect?))
    }

    /// Sets when this destination is to be looked at again, if it waits for nothing but time.
    pub(in crate::spool) fn schedule(&mut self, destination: DestinationId, now: Timestamp) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        let waits = slot.lined_up > 0 || slot.armed.len() > slot.promised;
        let opens = if waits { slot.pace.opens_at(now) } else { None };
        if slot.opens == opens {
            return;
        }
        slot.opens = opens;
        if let Some(at) = opens {
            self.openings.push(Reverse((at, destination)));
        }
        if self.openings.len() > 2 * self.destinations.len() + SWEEP {
            let slots = (0..).zip(&self.destinations);
            let opens = slots.filter_map(|(id, slot)| Some(Reverse((slot.opens?, id))));
            self.openings = opens.collect();
        }
    }

    /// Looks again at every destination whose time has come.
    pub(in crate::spool) fn open_due(&mut self, now: Timestamp) {
        if now < std::mem::replace(&mut self.looked_at, now) {
            // The clock was set back: the times are of another day.
            self.openings.clear();
            for slot in &mut self.destinations {
                slot.opens = None;
                slot.pace.rewind(now);
            }
            self.touch_all();
        }
        while let Some((at, destination)) = self.next_scheduled()
            && at <= now
        {
            if let Some(slot) = self.slot(destination) {
                slot.opens = None;
            }
            self.touch(destination);
        }
    }

    /// When the next destination is to be looked at.
    pub(in crate::spool) fn next_opening(&mut self) -> Option<Timestamp> {
        self.next_scheduled().map(|(at, _)| at)
    }

    fn next_scheduled(&mut self) -> Option<(Timestamp, DestinationId)> {
        loop {
            let Reverse((at, destination)) = *self.openings.peek()?;
            let scheduled = self.slot(destination).and_then(|slot| slot.opens);
            if scheduled == Some(at) {
                return Some((at, destination));
            }
            self.openings.pop();
        }
    }

    /// Takes what is armed back from a destination where nothing goes: each message, with when it was spooled, is to be
    /// written back as waiting, and then [`Queue::recalled`]. The last one comes first, so that the line keeps its order.
    pub(in crate::spool) fn recall(
        &mut self,
        destination: DestinationId,
        now: Timestamp,
    ) -> Vec<(MessageId, Timestamp)> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        if slot.armed.is_empty() || !slot.pace.is_shut(now) {
            return Vec::new();
        }
        self.take_armed(destination)
    }

    /// Takes all that is armed back from a destination, as [`Queue::recall`] does.
    pub(super) fn take_armed(&mut self, destination: DestinationId) -> Vec<(MessageId, Timestamp)> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let armed = std::mem::take(&mut slot.armed);
        slot.deck = slot.deck.saturating_sub(armed.len());
        let mut taken = Vec::with_capacity(armed.len());
        for id in armed.into_iter().rev() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.phase = Phase::Settling;
                entry.content = None;
                taken.push((id, entry.spooled_at));
            }
        }
        taken
    }

    /// The disk holds that its attempt does not begin: it is the first in line.
    pub(in crate::spool) fn recalled(&mut self, id: MessageId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.phase = Phase::Ready;
        let destination = entry.destination;
        if let Some(slot) = self.slot(destination) {
            slot.ready.push_front(id);
            slot.lined_up += 1;
            self.ready += 1;
        }
        self.touch(destination);
        self.look_at_route(id);
    }

    /// Nothing goes to this destination for a while: what waits there is read again when its turn comes.
    pub(in crate::spool) fn let_go_of_line(&mut self, destination: DestinationId) {
        let line = self
            .slot(destination)
            .map(|slot| std::mem::take(&mut slot.ready))
            .unwrap_or_default();
        for id in &line {
            self.let_go(*id);
        }
        if let Some(slot) = self.slot(destination) {
            slot.ready = line;
        }
    }

    /// Whether a message that comes now has to wait for time, or for a route.
    pub(in crate::spool) fn is_held_up(&self, destination: DestinationId, now: Timestamp) -> bool {
        let slot = usize::try_from(destination).map(|id| self.destinations.get(id));
        slot.is_ok_and(|slot| slot.is_some_and(|slot| slot.is_nowhere() || slot.pace.opens_at(now).is_some()))
    }

    /// Of the first `limit` messages in a line that does not move, those whose time has run out; they are taken from it, to be
    /// given up.
    pub(in crate::spool) fn take_expired(
        &mut self,
        destination: DestinationId,
        now: Timestamp,
        limit: usize,
    ) -> Vec<MessageId> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let first: Vec<MessageId> = slot.ready.iter().take(limit).copied().collect();
        self.take_expired_of(&first, destination, now)
    }

    /// Takes those of `ids` from the line of `destination` whose time has run out.
    pub(super) fn take_expired_of(
        &mut self,
        ids: &[MessageId],
        destination: DestinationId,
        now: Timestamp,
    ) -> Vec<MessageId> {
        let mut expired = Vec::new();
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id)
                && entry.phase == Phase::Ready
                && entry.destination == destination
                && entry.expires_at <= now
            {
                entry.phase = Phase::Settling;
                entry.content = None;
                expired.push(*id);
                self.left_line(destination);
            }
        }
        expired
    }

    /// Whether the time of this message is over.
    pub(in crate::spool) fn is_expired(&self, id: MessageId, now: Timestamp) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.expires_at <= now)
    }

    /// A person wants this message sent: a destination that is left alone is tried at once.
    pub(in crate::spool) fn hurry(&mut self, id: MessageId, now: Timestamp) {
        let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) else {
            return;
        };
        if let Some(slot) = self.slot(destination) {
            slot.pace.hurry(now);
        }
        self.touch(destination);
    }

    /// Whether so many messages were deferred at the destination of this one that they must not come back together.
    pub(in crate::spool) fn is_crowded(&self, id: MessageId, now: Timestamp) -> bool {
        let slot = || {
            let destination = self.entries.get(&id)?.destination;
            self.destinations.get(usize::try_from(destination).ok()?)
        };
        slot().is_some_and(|slot| slot.pace.is_crowded(now))
    }

    /// This message was deferred.
    pub(in crate::spool) fn deferred(&mut self, id: MessageId, now: Timestamp) {
        let destination = self.entries.get(&id).map(|entry| entry.destination);
        if let Some(slot) = destination.and_then(|destination| self.slot(destination)) {
            slot.pace.defer(now);
        }
    }

    pub(in crate::spool) fn next_hops(&self, destination: DestinationId) -> Option<&Arc<[NextHop]>> {
        let slot = self.destinations.get(usize::try_from(destination).ok()?)?;
        Some(&slot.next_hops)
    }

    /// Other policies, for what waits as well.
    pub(in crate::spool) fn set_policies(&mut self, policies: Policies) {
        self.ways.set_policies(policies);
        for slot in &mut self.destinations {
            self.ways.follow(&slot.next_hops, &mut slot.pace);
        }
        self.touch_all();
    }

    /// What is worth remembering of all destinations, the newest first.
    pub(in crate::spool) fn learned(&mut self, now: Timestamp) -> Vec<LearnedDestination> {
        let mut learned = self.ways.learned(now);
        let listed = self.by_hops.values().filter_map(|id| {
            let slot = self.destinations.get(usize::try_from(*id).ok()?)?;
            slot.pace.learned(&slot.next_hops, now)
        });
        learned.extend(listed);
        learned.sort_by_key(|learned| Reverse(learned.at));
        learned
    }

    /// Every destination that has messages, or of which something is known.
    pub(in crate::spool) fn sights(&self, now: Timestamp) -> Vec<Sight> {
        let with_messages = self.by_hops.values().filter_map(|id| {
            let slot = self.destinations.get(usize::try_from(*id).ok()?)?;
            Some(Sight {
                next_hops: Arc::clone(&slot.next_hops),
                messages: slot.messages,
                waiting: slot.lined_up + slot.deck,
                running: slot.running,
                doing: slot.pace.doing(),
            })
        });
        let resting = self.ways.resting(now).map(|(next_hops, pace)| Sight {
            next_hops: Arc::clone(next_hops),
            messages: 0,
            waiting: 0,
            running: 0,
            doing: pace.doing(),
        });
        let mut sights: Vec<Sight> = with_messages.chain(resting).collect();
        sights.sort_by(|a, b| {
            b.messages
                .cmp(&a.messages)
                .then_with(|| a.next_hops.cmp(&b.next_hops))
        });
        sights
    }
}
