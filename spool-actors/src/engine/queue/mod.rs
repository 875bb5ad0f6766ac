//! The queue: the phase of each message, and which message is next. It gets the time and all events from its caller.
//!
//! A waiting message costs an entry here and a place in one heap; its envelope and body are on disk. It never drops
//! a message by itself: an entry leaves only when the disk says that the message is finished.
//!
//! A message changes its place in [`Queue::set`] and nowhere else: every count and every list follows from that.

mod begins;
#[cfg(test)]
mod checked;
mod claims;
mod course;
mod crowd;
mod destinations;
mod due;
mod flow;
mod holds;
mod kept;
mod paths;
mod permits;
mod phase;
mod routes;

#[cfg(test)]
mod tests;

pub(super) use claims::Claim;
pub(crate) use claims::Note;
pub(super) use destinations::Permitted;
pub(crate) use flow::DestinationCounts;
pub(super) use flow::Next;
pub(crate) use holds::Explained;
pub(super) use phase::{Afterwards, Phase, Refusal};

use super::World;
use super::content::{Content, Size};
use super::time::{NEVER, Now};
use crate::engine::{DestinationId, PathId};
use destinations::Destination;
use paths::PathInfo;
use phase::{Counted, Counts};
use spool_core::store::Recovered;
use spool_core::{MessageId, NextHop, RouteOrigin, Routing, Status, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The most attempts of one destination whose start is on disk before they have a permit, while it has a session. They start without
/// waiting for a sync; after a crash each of them is in doubt.
const AHEAD: usize = 64;
/// Stale places that are not worth sweeping out.
const SWEEP: usize = 1024;

/// Bytes of memory that a waiting message takes in all indices together: its entry, its places in a line and in heaps, its
/// entry in the store.
const WAITING: u64 = 320;
/// The same of a destination.
const PER_DESTINATION: u64 = 2048;

#[derive(Debug)]
struct Entry {
    destination: DestinationId,
    phase: Phase,
    /// By the wall clock.
    spooled_at: Timestamp,
    size: Size,
    /// When it is given up.
    expires_at: Timestamp,
    /// Whether the disk holds the start of an attempt that this process has written, and nothing after it.
    begun: bool,
    /// Where its next hops come from.
    origin: RouteOrigin,
    /// The routing that `destination` comes from; if it is not the current one, the route must be checked.
    generation: u32,
    /// Whether an event has reported its route.
    route_told: bool,
}

/// Next hops, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) next_hops: Arc<[NextHop]>,
    pub(crate) origin: RouteOrigin,
    /// The routing it is from; one of the origin `Named` is from none.
    pub(super) generation: u32,
}

/// What is known of a message that comes to the queue without its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(super) id: MessageId,
    pub(super) destination: DestinationId,
    /// By the wall clock.
    pub(super) spooled_at: Timestamp,
    pub(super) size: Size,
    /// By the wall clock.
    pub(super) expires_at: Option<Timestamp>,
    pub(super) origin: RouteOrigin,
    /// The routing that `destination` comes from.
    pub(super) generation: u32,
}

/// All messages on the spool.
#[derive(Debug, Default)]
pub(crate) struct Queue<W: World> {
    /// In the order of ids, which is that of arrival.
    entries: BTreeMap<MessageId, Entry>,
    due: BinaryHeap<Reverse<(Timestamp, MessageId)>>,
    /// By the lower half of their ids.
    destinations: Vec<Destination<W>>,
    /// Ids for new ones.
    free: Vec<DestinationId>,
    by_hops: HashMap<Arc<[NextHop]>, DestinationId>,
    pub(super) routing: Routing,
    /// Counts the routings.
    pub(super) generation: u32,
    /// Messages whose route was not checked while they were being sent, and must be now.
    unlooked: Vec<MessageId>,
    paths: HashMap<PathId, PathInfo>,
    /// When the throttle must be called for a path again.
    pub(super) opens: Option<Timestamp>,
    /// Destinations that have gone and that the throttle must forget.
    gone: Vec<DestinationId>,
    dirty: Vec<DestinationId>,
    /// The first in the line of each waits for memory.
    pub(super) starved: HashSet<DestinationId>,
    /// Destinations with permits for which they have no message.
    pub(super) idle: BTreeSet<DestinationId>,
    /// Messages that kept their content in line, as far as they still stand there; in the order they came.
    kept: VecDeque<MessageId>,
    /// Messages that are no longer busy, for operations that wait for them.
    pub(super) released: Vec<MessageId>,
    pub(crate) counts: Counts,
    paused: bool,
    /// How many times the maximum of jobs was set. Permits from before start no attempt.
    epoch: u64,
}

impl<W: World> Queue<W> {
    /// An empty one.
    pub(super) fn new(routing: Routing) -> Self {
        Self {
            routing,
            ..Self::default()
        }
    }

    /// Inserts messages that were on disk at the start. Those that are past due wait in line, the oldest first.
    pub(super) fn recover(&mut self, mut messages: Vec<Recovered>, now: Now) {
        messages.sort_by_key(|message| match message.status {
            Status::SendAt(due) => due,
            Status::Frozen => NEVER,
        });
        for message in messages {
            let (origin, spooled) = (message.origin, &message.next_hops);
            let by_routing = self.routing.without_recipients(origin, spooled);
            // Otherwise its route is to be checked.
            let generation = self.generation_of(by_routing.is_some());
            let next_hops = by_routing.unwrap_or_else(|| Arc::clone(spooled));
            let known = Known {
                id: message.id,
                destination: self.enlist(&next_hops),
                spooled_at: message.spooled_at,
                size: Size::new(message.body_size, message.footprint),
                expires_at: message.expires_at,
                origin,
                generation,
            };
            self.add_claimed(known, message.status, now);
            let phase = match message.status {
                Status::Frozen => Phase::Frozen,
                // Written when the clock was ahead of today's: the wait counts from now.
                Status::SendAt(due) => {
                    let longest = message.wait.map(|wait| now.wall.after(wait));
                    self.until(longest.map_or(due, |longest| due.min(longest)), now)
                }
            };
            self.set(message.id, phase);
        }
    }

    /// Adds a message without its content: from the disk, an archive, a division, or as a notice. It is claimed until it is given back, with
    /// this status, or set to another phase.
    pub(super) fn add_claimed(&mut self, known: Known, status: Status, now: Now) {
        let entry = Entry {
            destination: known.destination,
            phase: Phase::Claimed(status),
            spooled_at: known.spooled_at,
            size: known.size,
            expires_at: known.expires_at.map_or(NEVER, |at| now.inside_of(at)),
            begun: false,
            origin: known.origin,
            generation: known.generation,
            route_told: true,
        };
        self.entries.insert(known.id, entry);
    }

    /// Moves a message to another phase. Every count and every list follows from this. Gives the former phase.
    pub(super) fn set(&mut self, id: MessageId, phase: Phase) -> Option<Phase> {
        let entry = self.entries.get_mut(&id)?;
        let destination = entry.destination;
        let (after, keeps) = (phase.counted(), matches!(phase, Phase::Ready(Some(_))));
        let (passing, armed, due) = (phase.is_passing(), matches!(phase, Phase::Armed(..)), phase.due());
        let old = std::mem::replace(&mut entry.phase, phase);
        if old.is_passing() && !passing {
            self.released.push(id);
        }
        self.leaves(id, &old, destination);
        self.count(after, destination, 1);
        if keeps {
            self.keep_in_line(id);
        }
        if let Some(slot) = self.slot(destination) {
            if armed {
                slot.armed.push_back(id);
            }
            if after == Counted::InLine {
                slot.line.push_back(id);
            }
        }
        if let Some(due) = due {
            self.wait_until(id, due);
        }
        self.touch(destination);
        Some(old)
    }

    /// Moves a message to a phase that has its content, if it has one.
    fn set_with_content(&mut self, id: MessageId, phase: impl FnOnce(Box<Content>) -> Phase) {
        let old = self.set(id, Phase::Claimed(Status::Frozen));
        if let Some(content) = old.and_then(Phase::into_content) {
            self.set(id, phase(content));
        }
    }

    /// A message leaves this phase, or leaves the queue out of it.
    fn leaves(&mut self, id: MessageId, old: &Phase, destination: DestinationId) {
        let before = old.counted();
        self.count(before, destination, -1);
        if before == Counted::InLine {
            self.left_line(destination);
        }
        if matches!(old, Phase::Armed(..))
            && let Some(slot) = self.slot(destination)
        {
            slot.armed.retain(|other| *other != id);
        }
    }

    /// An added message is on disk; `begun`: the start of its attempt as well.
    pub(super) fn added(
        &mut self,
        (destination, generation): (DestinationId, u32),
        status: Status,
        begun: bool,
        content: Box<Content>,
        now: Now,
    ) {
        let message = &content.message;
        let id = message.id;
        let known = Known {
            id,
            destination,
            spooled_at: message.spooled_at,
            size: content.size(),
            expires_at: message.state.expires_at,
            origin: message.origin,
            generation,
        };
        self.add_claimed(known, status, now);
        let frozen = status == Status::Frozen;
        self.unreserve(destination, begun);
        let phase = match (frozen, begun) {
            (true, _) => Phase::Frozen,
            (false, true) => Phase::Armed(content, true),
            (false, false) => Phase::Ready(Some(content)),
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.begun = begun;
        }
        let old = self.set(id, phase);
        self.came_back(id, old, now);
    }

    /// Bytes that messages and destinations take however little is known of them in memory.
    pub(super) fn standing(&self) -> u64 {
        let all = |count: usize, bytes: u64| u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(bytes);
        all(self.entries.len(), WAITING).saturating_add(all(self.by_hops.len(), PER_DESTINATION))
    }

    fn phase(&self, id: MessageId) -> Option<&Phase> {
        Some(&self.entries.get(&id)?.phase)
    }

    /// The new status of a message is on disk.
    pub(super) fn waits(&mut self, id: MessageId, status: Status, now: Now) {
        if !self.entries.contains_key(&id) {
            return;
        }
        let phase = match status {
            Status::Frozen => Phase::Frozen,
            // Also when that is over: it becomes due in the order of time.
            Status::SendAt(due) => Phase::Waiting(now.inside_of(due)),
        };
        let old = self.set(id, phase);
        self.came_back(id, old, now);
    }

    /// A message has left a phase in which something was done with it: what was noted meanwhile is done now.
    fn came_back(&mut self, id: MessageId, old: Option<Phase>, now: Now) {
        let reroute = old.and_then(|mut old| old.afterwards().and_then(|noted| noted.reroute.take()));
        self.look_at_route(id, reroute, now);
    }

    /// The end of a message is on disk.
    pub(super) fn finished(&mut self, id: MessageId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        let destination = entry.destination;
        if entry.phase.is_passing() {
            self.released.push(id);
        }
        self.leaves(id, &entry.phase, destination);
        // It may have had a place that is another's now.
        self.touch(destination);
        self.delist(destination);
    }

    /// When this message expires, by the wall clock; `None`: never, or there is no such message.
    pub(super) fn expires_at(&self, id: MessageId, now: Now) -> Option<Timestamp> {
        let entry = self.entries.get(&id)?;
        (entry.expires_at != NEVER).then(|| now.wall_of(entry.expires_at))
    }

    /// Whether any attempt is under way, or may start without waiting for time.
    pub(super) fn is_busy(&self, now: Now) -> bool {
        let mut slots = self.destinations.iter();
        let mut due = || slots.any(|slot| slot.is_busy(self.outlook(slot.id), now.inside));
        self.counts.running > 0 || (!self.paused && due())
    }

    /// Pauses all starts, as with a maximum of 0 jobs.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.touch_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
