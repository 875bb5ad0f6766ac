//! How messages flow from the line of a destination into sessions, as its pace allows; and what becomes of those that are about to
//! start when it allows nothing.

use super::destinations::Destination;
use super::{Afterwards, Now, Phase, Queue, SWEEP};
use crate::engine::DestinationId;
use crate::engine::World;
use crate::pace::{Begun, Doing, Effect, Signal};
use spool_core::{Dice, LearnedDestination, MessageId, NextHop, Policies, Timestamp};
use std::cmp::Reverse;
use std::sync::Arc;

/// A destination as it is now. Times are times inside.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(crate) messages: usize,
    /// Those that are due.
    pub(crate) waiting: usize,
    /// Sessions.
    pub(crate) running: usize,
    pub(crate) doing: Doing,
}

/// The next thing to be done for a destination.
#[derive(Debug)]
pub(in crate::engine) enum Next<W: World> {
    /// A session starts: the message is `Running` now.
    Start(W::Permit, MessageId),
    /// The message is `Asking` now: its content is in memory.
    Prepare(MessageId),
    /// The message is `Reading` now, and takes so many bytes in memory, with its body.
    Read(MessageId, u64),
}

impl<W: World> Destination<W> {
    /// Whether something is under way or could be without the clock going on.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        let waits = (self.in_line > 0 && !self.is_nowhere()) || !self.armed.is_empty();
        let under_way = self.permitted > 0 || self.ahead > self.armed.len();
        under_way || (waits && self.pace.opens_at(now).is_none())
    }
}

impl<W: World> Queue<W> {
    /// What the next permit in hand, or the next place ahead of the sessions, is to be used for; `None`: for nothing.
    pub(in crate::engine) fn next(&mut self, destination: DestinationId, now: Now) -> Option<Next<W>> {
        if self.paused {
            return None;
        }
        let starved = self.starved.contains(&destination);
        let slot = self.slot(destination)?;
        if !slot.permits.is_empty() && slot.free(now.inside) > 0 {
            if let Some(id) = slot.armed.pop_front() {
                let permit = self.slot(destination)?.permits.pop()?;
                return self.start(id, permit, now);
            }
            // Those on their way to be armed come first: they have a permit when they get there.
            let is_spare = slot.ahead < slot.permits.len();
            if is_spare
                && !starved
                && let Some(id) = self.pop_line(destination)
            {
                let permit = self.slot(destination)?.permits.pop();
                return Some(self.take_up(id, permit));
            }
        }
        let ahead = !starved && self.slot(destination)?.may_arm_ahead(now.inside);
        let id = self.pop_line(destination).filter(|_| ahead);
        id.map(|id| self.take_up(id, None))
    }

    /// The same for a destination that there is memory for now: its first message is taken up even without a permit, because the memory
    /// would be gone by the time there is one.
    pub(in crate::engine) fn next_fed(&mut self, destination: DestinationId, now: Now) -> Option<Next<W>> {
        let next = self.next(destination, now);
        let slot = self.at(destination)?;
        let may = !self.paused && !slot.is_nowhere() && slot.pace.room(now.inside, 1) > 0;
        if next.is_some() || !may {
            return next;
        }
        self.pop_line(destination).map(|id| self.take_up(id, None))
    }

    fn start(&mut self, id: MessageId, permit: W::Permit, now: Now) -> Option<Next<W>> {
        let destination = self.entries.get(&id)?.destination;
        let slot = self.slot(destination)?;
        let begun = slot.pace.begin(now.inside, slot.running);
        slot.started = slot.started.again();
        if let Some(Phase::Armed(content)) = self.set(id, Phase::Claimed) {
            self.set(id, Phase::Running(content, begun, Afterwards::default()));
        }
        Some(Next::Start(permit, id))
    }

    /// The first message in line. One that left the line by other ways is still found in it.
    fn pop_line(&mut self, destination: DestinationId) -> Option<MessageId> {
        loop {
            let id = self.slot(destination)?.line.front().copied()?;
            if self.stands_in(id, destination) {
                return Some(id);
            }
            self.slot(destination)?.line.pop_front();
        }
    }

    fn take_up(&mut self, id: MessageId, permit: Option<W::Permit>) -> Next<W> {
        let footprint = self.footprint(id, true);
        let destination = self.entries.get(&id).map(|entry| entry.destination);
        if let Some(slot) = destination.and_then(|destination| self.slot(destination)) {
            slot.line.pop_front();
        }
        match self.set(id, Phase::Reading(permit)) {
            Some(Phase::Ready(Some(content))) => {
                self.keep(content);
                Next::Prepare(id)
            }
            _ => Next::Read(id, footprint),
        }
    }

    /// Back to the head of the line: there was no memory for it.
    pub(in crate::engine) fn put_back(&mut self, id: MessageId) {
        let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) else {
            return;
        };
        self.set(id, Phase::Ready(None));
        self.put_in_front(id, destination);
    }

    /// A message that came to the end of its line stands in front of all others.
    fn put_in_front(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination)
            && slot.line.back() == Some(&id)
        {
            slot.line.pop_back();
            slot.line.push_front(id);
        }
    }

    /// How many permits to ask for: as many as messages may start that have none.
    pub(in crate::engine) fn take_wanted(&mut self, destination: DestinationId, now: Now) -> usize {
        if self.paused {
            return 0;
        }
        let starved = self.starved.contains(&destination);
        let Some(slot) = self.slot(destination) else {
            return 0;
        };
        let expected = slot.asked + slot.permits.len();
        // Where there is no memory for the first in line, nobody in it may start.
        let in_line = if starved { 0 } else { slot.in_line };
        let without = in_line + slot.ahead;
        let more = without.min(slot.free(now.inside)).saturating_sub(expected);
        slot.asked += more;
        more
    }

    /// A permit was granted. Gives it back when its destination is gone.
    pub(in crate::engine) fn granted(
        &mut self,
        destination: DestinationId,
        permit: W::Permit,
    ) -> Option<W::Permit> {
        let known = |slot: &Destination<W>| self.by_hops.get(&slot.next_hops) == Some(&destination);
        if !self.at(destination).is_some_and(known) {
            return Some(permit);
        }
        if let Some(slot) = self.slot(destination) {
            slot.asked = slot.asked.saturating_sub(1);
        }
        self.keep_permit(destination, permit);
        None
    }

    /// The session of a message has ended, and says `signal` about its destination; its permit, if it may be used again. To be called
    /// before [`Queue::ended`].
    pub(in crate::engine) fn observe(
        &mut self,
        id: MessageId,
        signal: &Signal,
        permit: Option<W::Permit>,
        now: Now,
        dice: &dyn Dice,
    ) -> Option<(DestinationId, Effect)> {
        let entry = self.entries.get(&id)?;
        let destination = entry.destination;
        let begun = entry.phase.session();
        if let Some(permit) = permit {
            self.keep_permit(destination, permit);
        }
        self.touch(destination);
        let slot = self.slot(destination)?;
        let effect = begun.map(|begun| slot.pace.end(signal, begun, now.inside, slot.running, dice));
        Some((destination, effect?))
    }

    /// Sets when this destination is to be looked at again, if it waits for nothing but time.
    pub(in crate::engine) fn schedule(&mut self, destination: DestinationId, now: Now) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        let waits = slot.in_line > 0 || !slot.armed.is_empty();
        let opens = if waits {
            slot.pace.opens_at(now.inside)
        } else {
            None
        };
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
    pub(in crate::engine) fn open_due(&mut self, now: Now) {
        while let Some((at, destination)) = self.next_scheduled()
            && at <= now.inside
        {
            if let Some(slot) = self.slot(destination) {
                slot.opens = None;
            }
            self.touch(destination);
        }
    }

    /// When the next destination is to be looked at.
    pub(in crate::engine) fn next_opening(&mut self) -> Option<Timestamp> {
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
    pub(in crate::engine) fn recall(
        &mut self,
        destination: DestinationId,
        now: Now,
    ) -> Vec<(MessageId, Timestamp)> {
        let shut = self
            .at(destination)
            .is_some_and(|slot| !slot.armed.is_empty() && slot.pace.is_shut(now.inside));
        match shut {
            true => self.take_armed(destination),
            false => Vec::new(),
        }
    }

    /// Takes all that is armed back from a destination, as [`Queue::recall`] does.
    pub(super) fn take_armed(&mut self, destination: DestinationId) -> Vec<(MessageId, Timestamp)> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let armed = std::mem::take(&mut slot.armed);
        let mut taken = Vec::with_capacity(armed.len());
        for id in armed.into_iter().rev() {
            self.set(id, Phase::Settling(None, Afterwards::default()));
            taken.extend(self.entries.get(&id).map(|entry| (id, entry.spooled_at)));
        }
        taken
    }

    /// The disk holds that its attempt does not begin: it is the first in line.
    pub(in crate::engine) fn recalled(&mut self, id: MessageId, now: Now) {
        let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) else {
            return;
        };
        let old = self.set(id, Phase::Ready(None));
        self.put_in_front(id, destination);
        self.came_back(id, old, now);
    }

    /// Nothing goes to this destination for a while: what waits there is read again when its turn comes.
    pub(in crate::engine) fn let_go_of_line(&mut self, destination: DestinationId) {
        let line = self
            .slot(destination)
            .map(|slot| std::mem::take(&mut slot.line))
            .unwrap_or_default();
        for id in &line {
            self.let_go(*id);
        }
        if let Some(slot) = self.slot(destination) {
            slot.line = line;
        }
    }

    /// Whether a message that comes now has to wait for time, or for a route.
    pub(in crate::engine) fn is_held_up(&self, destination: DestinationId, now: Now) -> bool {
        self.at(destination)
            .is_some_and(|slot| slot.is_nowhere() || slot.pace.opens_at(now.inside).is_some())
    }

    /// Whether every message that stands in line may start as soon as there are permits.
    pub(in crate::engine) fn is_next(&self, destination: DestinationId, now: Now) -> bool {
        !self.starved.contains(&destination)
            && self
                .at(destination)
                .is_some_and(|slot| slot.in_line + slot.ahead <= slot.free(now.inside))
    }

    /// Of the first `limit` messages in a line that does not move, those whose time has run out; they are taken from it, to be
    /// given up.
    pub(in crate::engine) fn take_expired(
        &mut self,
        destination: DestinationId,
        now: Now,
        limit: usize,
    ) -> Vec<MessageId> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let first: Vec<MessageId> = slot.line.iter().take(limit).copied().collect();
        self.take_expired_of(&first, destination, now)
    }

    /// Takes those of `ids` from the line of `destination` whose time has run out.
    pub(super) fn take_expired_of(
        &mut self,
        ids: &[MessageId],
        destination: DestinationId,
        now: Now,
    ) -> Vec<MessageId> {
        let is_over =
            |queue: &Self, id: MessageId| queue.stands_in(id, destination) && queue.is_expired(id, now);
        let mut expired = Vec::new();
        for id in ids {
            if is_over(self, *id) {
                self.set(*id, Phase::Settling(None, Afterwards::default()));
                expired.push(*id);
            }
        }
        expired
    }

    /// Whether the time of this message is over.
    pub(in crate::engine) fn is_expired(&self, id: MessageId, now: Now) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|entry| entry.expires_at <= now.inside)
    }

    /// A person wants this message sent: a destination that is left alone is tried at once.
    pub(in crate::engine) fn hurry(&mut self, id: MessageId, now: Now) {
        let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) else {
            return;
        };
        if let Some(slot) = self.slot(destination) {
            slot.pace.hurry(now.inside);
        }
        self.touch(destination);
    }

    /// Whether so many messages were deferred at the destination of this one that they must not come back together.
    pub(in crate::engine) fn is_crowded(&self, id: MessageId, now: Now) -> bool {
        let entry = self.entries.get(&id);
        let slot = entry.and_then(|entry| self.at(entry.destination));
        slot.is_some_and(|slot| slot.pace.is_crowded(now.inside))
    }

    /// This message was deferred.
    pub(in crate::engine) fn deferred(&mut self, id: MessageId, now: Now) {
        let destination = self.entries.get(&id).map(|entry| entry.destination);
        if let Some(slot) = destination.and_then(|destination| self.slot(destination)) {
            slot.pace.defer(now.inside);
        }
    }

    pub(in crate::engine) fn next_hops(&self, destination: DestinationId) -> Option<&Arc<[NextHop]>> {
        Some(&self.at(destination)?.next_hops)
    }

    /// Other policies, for what waits as well.
    pub(in crate::engine) fn set_policies(&mut self, policies: Policies) {
        self.ways.set_policies(policies);
        for slot in &mut self.destinations {
            self.ways.follow(&slot.next_hops, &mut slot.pace);
        }
        self.touch_all();
    }

    /// What is worth remembering of all destinations, the newest first; with times of the wall clock.
    pub(in crate::engine) fn learned(&mut self, now: Now) -> Vec<LearnedDestination> {
        let mut learned = self.ways.learned(now);
        let listed = self.by_hops.values().filter_map(|id| {
            let slot = self.at(*id)?;
            let learned = slot.pace.learned(&slot.next_hops, now.inside)?;
            Some(super::ways::on_wall(learned, now))
        });
        learned.extend(listed);
        learned.sort_by_key(|learned| Reverse(learned.at));
        learned
    }

    /// Every destination that has messages, or of which something is known.
    pub(in crate::engine) fn sights(&self, now: Now) -> Vec<Sight> {
        let with_messages = self.by_hops.values().filter_map(|id| {
            // One that is kept for its permits alone has nothing to tell.
            let worth = |slot: &&Destination<W>| slot.messages > 0 || slot.pace.is_worth_remembering();
            let slot = self.at(*id).filter(worth)?;
            Some(Sight {
                next_hops: Arc::clone(&slot.next_hops),
                messages: slot.messages,
                waiting: slot.in_line + slot.ahead + slot.permitted,
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

    /// When the session of this message has begun.
    pub(super) fn session(&self, id: MessageId) -> Option<Begun> {
        self.phase(id)?.session()
    }
}
