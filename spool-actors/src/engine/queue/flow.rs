//! How messages flow from the line of a destination into sessions, as its permits allow; and what becomes of those that are about to
//! start when the circuit of its path opens.

use super::destinations::{Destination, Permitted};
use super::{Afterwards, Now, Phase, Queue};
use crate::engine::{DestinationId, Outlook, PathId, World};
use spool_core::{MessageId, NextHop, Timestamp};
use std::sync::Arc;

/// The most permits that a destination asks for at a time.
const MOST_ASKED: usize = 64;

/// So many more permits than are wanted may have been asked for.
const TOO_MANY_ASKED: usize = 16;

/// A destination with its messages and sessions.
#[derive(Debug)]
pub(crate) struct DestinationCounts {
    pub(crate) destination: DestinationId,
    pub(crate) next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub(crate) messages: usize,
    /// Those that are due.
    pub(crate) waiting: usize,
    /// Sessions.
    pub(crate) running: usize,
}

/// The next thing to be done for a destination.
#[derive(Debug)]
pub(in crate::engine) enum Next<W: World> {
    /// An attempt starts: the message is `Running` now. Whether its start is on disk.
    Start {
        id: MessageId,
        permit: Permitted<W>,
        recorded: bool,
    },
    /// The message is `Asking` now: its content is in memory.
    Prepare(MessageId),
    /// The message is `Reading` now, and takes so many bytes in memory, with its body.
    Read(MessageId, u64),
}

impl<W: World> Destination<W> {
    /// Whether something is under way or could be without the clock going on.
    pub(super) fn is_busy(&self, outlook: Option<Outlook>, now: Timestamp) -> bool {
        let under_way = self.counts.ahead > self.armed.len();
        let until = outlook.and_then(|outlook| outlook.until);
        under_way || (self.waits() && until.is_none_or(|until| until <= now))
    }
}

impl<W: World> Queue<W> {
    /// What to do with the next free permit, or with the next place ahead of the sessions; `None`: nothing.
    pub(in crate::engine) fn next(&mut self, destination: DestinationId, now: Now) -> Option<Next<W>> {
        if self.paused {
            return None;
        }
        let starved = self.starved.contains(&destination);
        let outlook = self.outlook(destination);
        let slot = self.slot(destination)?;
        if !slot.armed.is_empty()
            && let Some(permit) = slot.take_permit(outlook)
            && let Some(id) = slot.armed.pop_front()
        {
            return self.start(id, permit, now);
        }
        // Those on their way to be armed come first: they have a permit when they get there.
        let is_spare = slot.counts.ahead < slot.permits.len() && slot.has_permit(outlook);
        let may_go = !starved && (is_spare || slot.may_arm_ahead(outlook));
        let id = self.first_in_line(destination).filter(|_| may_go)?;
        Some(self.take_up(id))
    }

    /// Takes up the first message in the line of a destination that there is memory for now, also without a permit: the memory would be
    /// gone by the time there is one. It starts nothing.
    pub(in crate::engine) fn next_fed(&mut self, destination: DestinationId, now: Now) -> Option<Next<W>> {
        if self.paused || self.is_held_up(destination, now) {
            return None;
        }
        let id = self.first_in_line(destination)?;
        Some(self.take_up(id))
    }

    fn start(&mut self, id: MessageId, permit: Permitted<W>, now: Now) -> Option<Next<W>> {
        let entry = self.entries.get(&id)?;
        let destination = entry.destination;
        let recorded = matches!(entry.phase, Phase::Armed(_, true));
        let slot = self.slot(destination)?;
        slot.started = (slot.started + 1).min(2);
        let afterwards = Afterwards {
            path: permit.path,
            ..Afterwards::default()
        };
        self.set_with_content(id, |content| Phase::Running(content, now.inside, afterwards));
        Some(Next::Start { id, permit, recorded })
    }

    /// The first message in line. A message that left the line otherwise may still be in it.
    fn first_in_line(&mut self, destination: DestinationId) -> Option<MessageId> {
        loop {
            let id = self.slot(destination)?.line.front().copied()?;
            if self.stands_in(id, destination) {
                return Some(id);
            }
            self.slot(destination)?.line.pop_front();
        }
    }

    fn take_up(&mut self, id: MessageId) -> Next<W> {
        let footprint = self.footprint(id, true);
        let destination = self.entries.get(&id).map(|entry| entry.destination);
        if let Some(slot) = destination.and_then(|destination| self.slot(destination)) {
            slot.line.pop_front();
        }
        match self.set(id, Phase::Reading) {
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

    /// Moves a message from the end of its line to the front.
    fn put_in_front(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination)
            && slot.line.back() == Some(&id)
        {
            slot.line.pop_back();
            slot.line.push_front(id);
        }
    }

    /// How many more permits to ask for, and for which next hops: as many as messages may start that have none. Less than none: so many
    /// are wanted no more.
    pub(in crate::engine) fn take_wanted(
        &mut self,
        destination: DestinationId,
    ) -> Option<(Arc<[NextHop]>, isize)> {
        if self.paused {
            return None;
        }
        let starved = self.starved.contains(&destination);
        let slot = self.slot(destination).filter(|slot| !slot.is_nowhere())?;
        // While there is no memory for the first message in line, none of the line may start.
        let in_line = if starved { 0 } else { slot.counts.in_line };
        let without = (in_line + slot.counts.ahead).min(MOST_ASKED);
        let wanted = without.saturating_sub(slot.permits.len());
        // Permits are passed on from message to message: that a few too many are asked for does no harm.
        let is_too_much = wanted == 0 || slot.asked > wanted + TOO_MANY_ASKED;
        if slot.asked == wanted || (slot.asked > wanted && !is_too_much) {
            return None;
        }
        let more = isize::try_from(wanted).ok()? - isize::try_from(slot.asked).ok()?;
        slot.asked = wanted;
        Some((Arc::clone(&slot.next_hops), more))
    }

    /// A permit was granted. Gives it back when its destination is gone, or permits of its time start nothing any more.
    pub(in crate::engine) fn granted(
        &mut self,
        destination: DestinationId,
        permit: W::Permit,
    ) -> Option<W::Permit> {
        let is_current = W::epoch(&permit) == self.epoch;
        let Some(slot) = self.slot(destination) else {
            return Some(permit);
        };
        slot.asked = slot.asked.saturating_sub(1);
        if !is_current {
            self.touch(destination);
            return Some(permit);
        }
        let path = slot.path;
        self.keep_permit(
            destination,
            Permitted {
                permit,
                is_kept: false,
                path,
            },
        );
        None
    }

    /// Whether the permit of an attempt that has ended may start the next one of its destination.
    pub(in crate::engine) fn goes_on(&self, id: MessageId, permit: &W::Permit) -> bool {
        let Some(destination) = self.destination_of(id) else {
            return false;
        };
        let is_on_path = self
            .at(destination)
            .is_some_and(|slot| slot.path == self.path_of(id));
        let outlook = self.outlook(destination);
        let is_current = W::epoch(permit) == self.epoch;
        is_current && is_on_path && outlook.is_some_and(|outlook| outlook.goes_on)
    }

    /// The path by whose limits the attempt at this message is made.
    pub(super) fn path_of(&self, id: MessageId) -> Option<PathId> {
        let Phase::Running(_, _, noted) = self.phase(id)? else {
            return None;
        };
        noted.path
    }

    /// The attempt at this message has ended, and its permit is for the next one of its destination. To be called before [`Queue::ended`].
    pub(in crate::engine) fn passes_on(&mut self, id: MessageId, permit: W::Permit) {
        if let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) {
            let path = self.path_of(id);
            self.keep_permit(
                destination,
                Permitted {
                    permit,
                    is_kept: true,
                    path,
                },
            );
        }
    }

    /// Takes what is armed back from a destination where nothing goes. Each message that this gives, with when it was spooled, has the
    /// start of its attempt on disk: it is to be written back as waiting, and then [`Queue::recalled`]. The last one comes first, so that
    /// the line keeps its order.
    pub(in crate::engine) fn recall(&mut self, destination: DestinationId) -> Vec<(MessageId, Timestamp)> {
        let is_shut = self.outlook(destination).is_some_and(|outlook| outlook.is_shut);
        match is_shut {
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
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            let (begun, spooled_at) = (entry.begun, entry.spooled_at);
            if begun {
                self.set(id, Phase::Settling(None, Afterwards::default()));
                taken.push((id, spooled_at));
            } else {
                // Its start is not on disk: it is the first in line again.
                self.set_with_content(id, |content| Phase::Ready(Some(content)));
                self.put_in_front(id, destination);
            }
        }
        taken
    }

    /// Nothing of its attempt is on disk, or nothing any more: it is the first in line.
    pub(in crate::engine) fn recalled(&mut self, id: MessageId, now: Now) {
        let Some(destination) = self.entries.get(&id).map(|entry| entry.destination) else {
            return;
        };
        let old = self.set(id, Phase::Ready(None));
        self.put_in_front(id, destination);
        self.came_back(id, old, now);
    }

    /// Whether a message that comes now has to wait for time, or for a route.
    pub(in crate::engine) fn is_held_up(&self, destination: DestinationId, now: Now) -> bool {
        let until = self.outlook(destination).and_then(|outlook| outlook.until);
        let is_nowhere = self.at(destination).is_some_and(Destination::is_nowhere);
        is_nowhere || until.is_some_and(|until| until > now.inside)
    }

    /// Whether every message in line may start as soon as there are permits.
    pub(in crate::engine) fn is_next(&self, destination: DestinationId) -> bool {
        let limit = self.outlook(destination).map_or(1, |outlook| outlook.limit);
        let is_next = |slot: &Destination<W>| slot.counts.waiting() + slot.counts.running <= limit;
        !self.starved.contains(&destination) && self.at(destination).is_some_and(is_next)
    }

    /// Takes the expired messages from the first `limit` in a line that does not move. Messages without a route go to the end of their
    /// line instead of staying in front, so that all are checked in turn.
    pub(in crate::engine) fn take_expired(
        &mut self,
        destination: DestinationId,
        now: Now,
        limit: usize,
    ) -> Vec<MessageId> {
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let ids: Vec<MessageId> = slot.line.iter().take(limit).copied().collect();
        if slot.is_nowhere() {
            slot.line.rotate_left(ids.len());
        }
        let mut expired = Vec::new();
        for id in ids {
            if self.stands_in(id, destination) && self.is_expired(id, now) {
                self.set(id, Phase::Settling(None, Afterwards::default()));
                expired.push(id);
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

    /// The destination of a message.
    pub(in crate::engine) fn destination_of(&self, id: MessageId) -> Option<DestinationId> {
        Some(self.entries.get(&id)?.destination)
    }

    /// Whether so many messages were deferred at the destination of this one that they must not come back together.
    pub(in crate::engine) fn is_crowded(&self, id: MessageId, now: Now) -> bool {
        let slot = self.destination_of(id).and_then(|id| self.at(id));
        slot.is_some_and(|slot| slot.crowd.is_crowded(now.inside))
    }

    /// This message was deferred.
    pub(in crate::engine) fn deferred(&mut self, id: MessageId, now: Now) {
        let slot = self.destination_of(id).and_then(|id| self.slot(id));
        if let Some(slot) = slot {
            slot.crowd.defer(now.inside);
        }
    }

    pub(in crate::engine) fn next_hops(&self, destination: DestinationId) -> Option<&Arc<[NextHop]>> {
        Some(&self.at(destination)?.next_hops)
    }

    /// The counts of every destination that has messages.
    pub(crate) fn counts(&self) -> Vec<DestinationCounts> {
        let slots = self.by_hops.values().filter_map(|id| self.at(*id));
        let counts = |slot: &Destination<W>| DestinationCounts {
            destination: slot.id,
            next_hops: Arc::clone(&slot.next_hops),
            messages: slot.messages,
            waiting: slot.counts.waiting(),
            running: slot.counts.running,
        };
        slots.filter(|slot| slot.messages > 0).map(counts).collect()
    }
}
