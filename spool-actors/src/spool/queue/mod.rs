//! The queue: what each message waits for, and which one is next. Pure: it is told the time and what happened.
//!
//! A waiting message costs an entry here and a place in one heap; its envelope and body are on disk. It never drops
//! a message by itself: an entry leaves only when the disk says that the message is finished.

mod begins;
mod busy;
mod claims;
mod destinations;
mod flow;
mod holds;
mod kept;
mod reset;
mod routes;
mod ways;

pub(super) use claims::{Claim, Note, Verb};
pub(super) use flow::Sight;
pub(super) use routes::{Redirected, Stale};
pub(super) use ways::Ways;

use super::content::{Content, Size};
use crate::throttle::DestinationId;
use busy::BusyHosts;
use destinations::Destination;
use spool_core::store::Recovered;
use spool_core::{Held, MessageId, NextHop, RouteOrigin, Routing, Status, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The most attempts of one destination whose begin is on disk before their session may start. They start without
/// waiting for a sync; after a crash each of them is in doubt.
const DECK: usize = 64;
/// Stale places that are not worth sweeping out.
const SWEEP: usize = 1024;

/// Bytes of memory that a waiting message takes in all indices together: its entry, its places in a line and in heaps, its
/// entry in the store.
const WAITING: u64 = 320;
/// The same of a destination.
const PER_DESTINATION: u64 = 2048;

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until its time comes.
    Waiting(Timestamp),
    /// Due, in its destination's line.
    Ready,
    /// On the deck: being read, or the presend hook being asked.
    Asking,
    /// On the deck: its begin being written.
    Arming,
    /// On the deck: its begin is on disk, it waits for a permit.
    Armed,
    /// A session runs.
    Running,
    /// The session's end is being decided and written.
    Settling,
    /// An operation has it.
    Claimed,
    /// Waits for a person.
    Frozen,
}

#[derive(Debug)]
struct Entry {
    destination: DestinationId,
    phase: Phase,
    spooled_at: Timestamp,
    size: Size,
    /// When it is given up; the end of time: never.
    expires_at: Timestamp,
    /// Someone froze it while its session ran.
    freeze: bool,
    /// Whether the disk holds the begin of an attempt that this process has written, and nothing after it.
    begun: bool,
    /// Where its next hops come from.
    origin: RouteOrigin,
    /// The routing that `destination` is from; another one than that of now: it is to be looked at.
    generation: u32,
    /// Whether an event has told of its route.
    route_told: bool,
    /// Another route that it was given while its session ran.
    reroute: Option<Box<Route>>,
    content: Option<Box<Content>>,
}

/// Next hops, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(super) next_hops: Arc<[NextHop]>,
    pub(super) origin: RouteOrigin,
    /// The routing it is from; one of the origin `Named` is from none.
    pub(super) generation: u32,
}

/// All messages on the spool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In the order of ids, which is that of arrival.
    entries: BTreeMap<MessageId, Entry>,
    due: BinaryHeap<Reverse<(Timestamp, MessageId)>>,
    /// By how many milliseconds the wall clock was set since this process knows a message: what the disk says of its times is
    /// off by that. Empty, but for the days after such an event.
    clock_set: HashMap<MessageId, i64>,
    /// Past due at the start; released bit by bit, oldest first.
    backlog: BinaryHeap<Reverse<(Timestamp, MessageId)>>,
    destinations: Vec<Destination>,
    free: Vec<DestinationId>,
    by_hops: HashMap<Arc<[NextHop]>, DestinationId>,
    ways: Ways,
    routing: Routing,
    /// Counts the routings.
    generation: u32,
    /// Messages whose route was not looked at while they were being sent, and is to be now.
    unlooked: Vec<MessageId>,
    /// When destinations are to be looked at; those with another time in their slot mean nothing.
    openings: BinaryHeap<Reverse<(Timestamp, DestinationId)>>,
    /// When that was last looked at.
    looked_at: Timestamp,
    dirty: Vec<DestinationId>,
    /// The first in the line of each waits for memory.
    starved: HashSet<DestinationId>,
    /// Messages that kept their content in line, as far as they still stand there; in the order they came.
    kept: VecDeque<MessageId>,
    /// What messages hold whose end is being decided and written.
    settling: HashMap<MessageId, Held>,
    busy: BusyHosts,
    ready: usize,
    running: usize,
    paused: bool,
}

/// A message for the deck.
#[derive(Debug)]
pub(super) struct ToArm {
    pub(super) id: MessageId,
    /// Bytes that it takes in memory, with its body.
    pub(super) footprint: u64,
    pub(super) has_content: bool,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(ways: Ways, routing: Routing) -> Self {
        Self {
            ways,
            routing,
            ..Self::default()
        }
    }

    /// Takes in some of what was there at the start. Past-due messages go to the backlog.
    pub(super) fn recover(&mut self, messages: Vec<Recovered>, now: Timestamp) {
        for message in messages {
            let phase = match message.status {
                Status::Frozen => Phase::Frozen,
                // Written when the clock was ahead of today's: the wait counts from now.
                Status::SendAt(due) => {
                    Phase::Waiting(message.wait.map_or(due, |wait| due.min(now.after(wait))))
                }
            };
            let (origin, spooled) = (message.origin, &message.next_hops);
            let known = self.routing.without_recipients(origin, spooled);
            let is_known = known.is_some();
            let destination = self.enlist(&known.unwrap_or_else(|| Arc::clone(spooled)), now);
            self.insert(
                message.id,
                destination,
                phase,
                message.spooled_at,
                Size::new(message.body_size, message.footprint),
                message.expires_at,
                origin,
                None,
            );
            if !is_known {
                self.make_stale(message.id);
            }
            if let Phase::Waiting(due) = phase {
                let heap = if due <= now {
                    &mut self.backlog
                } else {
                    &mut self.due
                };
                heap.push(Reverse((due, message.id)));
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an entry, part by part")]
    fn insert(
        &mut self,
        id: MessageId,
        destination: DestinationId,
        phase: Phase,
        spooled_at: Timestamp,
        size: Size,
        expires_at: Option<Timestamp>,
        origin: RouteOrigin,
        content: Option<Box<Content>>,
    ) {
        self.entries.insert(
            id,
            Entry {
                destination,
                phase,
                spooled_at,
                size,
                expires_at: expires_at.unwrap_or(Timestamp(i64::MAX)),
                freeze: false,
                begun: false,
                origin,
                generation: self.generation,
                route_told: true,
                reroute: None,
                content,
            },
        );
    }

    /// An added message is on disk. `armed`: its begin as well.
    pub(super) fn added(
        &mut self,
        destination: DestinationId,
        status: Status,
        armed: bool,
        content: Box<Content>,
    ) {
        let message = &content.message;
        let (id, spooled_at, size) = (message.id, message.spooled_at, content.size());
        let (expires_at, origin) = (message.state.expires_at, message.origin);
        let phase = match status {
            Status::Frozen => Phase::Frozen,
            Status::SendAt(_) if armed => Phase::Armed,
            Status::SendAt(_) => Phase::Ready,
        };
        let content = (phase != Phase::Frozen).then_some(content);
        self.insert(
            id,
            destination,
            phase,
            spooled_at,
            size,
            expires_at,
            origin,
            content,
        );
        match phase {
            Phase::Armed => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.begun = true;
                }
                self.arm_now(id, destination);
            }
            Phase::Ready => {
                self.keep_in_line(id);
                self.line_up(id, destination);
            }
            Phase::Waiting(_)
            | Phase::Asking
            | Phase::Arming
            | Phase::Running
            | Phase::Settling
            | Phase::Claimed
            | Phase::Frozen => {}
        }
    }

    /// Bytes that messages and destinations take however little is known of them in memory.
    pub(super) fn standing(&self) -> u64 {
        let all = |count: usize, bytes: u64| u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(bytes);
        all(self.entries.len(), WAITING).saturating_add(all(self.by_hops.len(), PER_DESTINATION))
    }

    /// Moves what is due by `now` into line, and up to `release` messages of the backlog.
    pub(super) fn release_due(&mut self, now: Timestamp, release: usize) {
        while let Some(Reverse((due, id))) = self.due.peek().copied() {
            if due > now {
                break;
            }
            self.due.pop();
            // A message that was moved since has another phase; its old place in the heap means nothing.
            self.ready_if(id, |phase| phase == Phase::Waiting(due));
        }
        for _ in 0..release {
            let Some(Reverse((_, id))) = self.backlog.pop() else {
                break;
            };
            self.ready_if(id, |phase| matches!(phase, Phase::Waiting(due) if due <= now));
        }
    }

    fn ready_if(&mut self, id: MessageId, waits: impl Fn(Phase) -> bool) {
        if let Some(entry) = self.entries.get_mut(&id)
            && waits(entry.phase)
        {
            entry.phase = Phase::Ready;
            let destination = entry.destination;
            self.line_up(id, destination);
        }
    }

    /// The wall clock was set by so many milliseconds.
    pub(super) fn clock_was_set(&mut self, millis: i64) {
        for (id, entry) in &mut self.entries {
            let set = self.clock_set.entry(*id).or_default();
            *set = set.saturating_add(millis);
            entry.expires_at = entry.expires_at.shifted(millis);
            if let Phase::Waiting(due) = &mut entry.phase {
                *due = due.shifted(millis);
            }
        }
        let due = std::mem::take(&mut self.due).into_iter();
        self.due = due
            .map(|Reverse((due, id))| Reverse((due.shifted(millis), id)))
            .collect();
    }

    /// By how many milliseconds the times on disk of this message are off; asked when they are written anew.
    pub(super) fn take_clock_set(&mut self, id: MessageId) -> i64 {
        self.clock_set.remove(&id).unwrap_or(0)
    }

    /// What was taken was not written: the times on disk are off as before.
    pub(super) fn put_back_clock_set(&mut self, id: MessageId, millis: i64) {
        if millis != 0 && self.entries.contains_key(&id) {
            let set = self.clock_set.entry(id).or_default();
            *set = set.saturating_add(millis);
        }
    }

    /// When something becomes due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The next message in line for which the deck has room; it is `Asking` now.
    pub(super) fn next_to_arm(&mut self, destination: DestinationId, now: Timestamp) -> Option<ToArm> {
        if self.paused {
            return None;
        }
        loop {
            let slot = self.slot(destination).filter(|slot| slot.has_room(now))?;
            let id = slot.ready.pop_front()?;
            // One that left the line by other ways is still found in it.
            let Some(entry) = self
                .entries
                .get_mut(&id)
                .filter(|entry| entry.phase == Phase::Ready && entry.destination == destination)
            else {
                continue;
            };
            entry.phase = Phase::Asking;
            let (footprint, has_content) = (entry.size.whole(), entry.content.is_some());
            self.left_line(destination);
            if let Some(slot) = self.slot(destination) {
                slot.deck += 1;
            }
            return Some(ToArm {
                id,
                footprint,
                has_content,
            });
        }
    }

    /// Back to the head of the line: there was no memory for it.
    pub(super) fn put_back(&mut self, id: MessageId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.phase = Phase::Ready;
        let destination = entry.destination;
        if let Some(slot) = self.slot(destination) {
            slot.ready.push_front(id);
            slot.lined_up += 1;
            slot.deck = slot.deck.saturating_sub(1);
            self.ready += 1;
        }
    }

    /// Keeps what was read for a message on the deck.
    pub(super) fn keep(&mut self, content: Box<Content>) {
        let id = content.message.id;
        let route = self.route_of(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.size = content.size();
            let content = entry.content.insert(content);
            if let Some(route) = route {
                content.set_next_hops(&route.next_hops);
            }
        }
    }

    /// What was read for a message on the deck, for the presend hook.
    pub(super) fn content(&self, id: MessageId) -> Option<&Content> {
        self.entries.get(&id)?.content.as_deref()
    }

    /// Its begin is being written.
    pub(super) fn arming(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Arming;
        }
    }

    /// Its begin is on disk. Gives the message, with when it was spooled, if it must not go where it is about to: the routes were
    /// changed meanwhile. Its begin is to be taken back, and then [`Queue::recalled`].
    pub(super) fn armed(&mut self, id: MessageId) -> Option<Timestamp> {
        let generation = self.generation;
        let entry = self.entries.get_mut(&id)?;
        if entry.phase != Phase::Arming {
            return None;
        }
        let destination = entry.destination;
        if entry.is_stale(generation) {
            entry.phase = Phase::Settling;
            entry.content = None;
            let spooled_at = entry.spooled_at;
            self.cancel_arming(destination);
            return Some(spooled_at);
        }
        entry.phase = Phase::Armed;
        self.arm_now(id, destination);
        None
    }

    /// A permit has come. Starts the next armed message of `destination`, if it may start: it is `Running` now.
    pub(super) fn start(&mut self, destination: DestinationId, now: Timestamp) -> Option<&Content> {
        let (id, begun) = self.depart(destination, now)?;
        self.running += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.phase = Phase::Running;
        if let Some(content) = &mut entry.content {
            content.session = Some(begun);
        }
        entry.content.as_deref()
    }

    /// The session has ended: gives the content, for what comes next.
    pub(super) fn ended(&mut self, id: MessageId) -> Option<Box<Content>> {
        let entry = self.entries.get_mut(&id)?;
        if entry.phase != Phase::Running {
            return None;
        }
        entry.phase = Phase::Settling;
        self.running = self.running.saturating_sub(1);
        entry.content.take()
    }

    /// A message takes `footprint` bytes beside its body, as is known now that it was read or changed.
    pub(super) fn weighed(&mut self, id: MessageId, footprint: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.size = entry.size.with_rest(footprint);
        }
        if let Some(held) = self.settling.get_mut(&id) {
            held.resize(footprint);
        }
    }

    /// Until the disk has answered for the end of its session, a message takes `more` bytes: those of what is written with it.
    pub(super) fn written_with(&mut self, id: MessageId, more: u64) {
        if let Some(held) = self.settling.get_mut(&id) {
            held.resize(held.bytes().saturating_add(more));
        }
    }

    /// What a message holds whose session has ended, until [`Queue::settled`].
    pub(super) fn settling(&mut self, id: MessageId, held: Held) {
        self.settling.insert(id, held);
    }

    /// The disk has answered for the end of a session.
    pub(super) fn settled(&mut self, id: MessageId) {
        self.settling.remove(&id);
    }

    /// A message whose attempt a former process left open: its end is being written.
    pub(super) fn interrupted(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Settling;
        }
    }

    /// The disk holds what the message waits for now.
    pub(super) fn waits(&mut self, id: MessageId, status: Status) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let on_deck = matches!(entry.phase, Phase::Asking | Phase::Arming | Phase::Armed);
        let destination = entry.destination;
        entry.content = None;
        entry.freeze = false;
        match status {
            Status::Frozen => entry.phase = Phase::Frozen,
            Status::SendAt(due) => self.wait_until(id, due),
        }
        if on_deck {
            self.cancel_arming(destination);
        }
        self.look_at_route(id);
    }

    fn wait_until(&mut self, id: MessageId, due: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Waiting(due);
            self.due.push(Reverse((due, id)));
        }
        // Places of messages that were moved since mean nothing; they are swept out before they are the most.
        if self.due.len() > 2 * self.entries.len() + SWEEP {
            let waiting = |(id, entry): (&MessageId, &Entry)| match entry.phase {
                Phase::Waiting(due) => Some(Reverse((due, *id))),
                Phase::Ready
                | Phase::Asking
                | Phase::Arming
                | Phase::Armed
                | Phase::Running
                | Phase::Settling
                | Phase::Claimed
                | Phase::Frozen => None,
            };
            self.due = self.entries.iter().filter_map(waiting).collect();
        }
    }

    /// A message is back from a shelf. It is claimed until its pair is gone: then it is given back, frozen.
    pub(super) fn back(
        &mut self,
        id: MessageId,
        destination: DestinationId,
        spooled_at: Timestamp,
        size: Size,
        expires_at: Option<Timestamp>,
        origin: RouteOrigin,
    ) {
        let phase = Phase::Claimed;
        self.insert(id, destination, phase, spooled_at, size, expires_at, origin, None);
    }

    /// The disk holds its end.
    pub(super) fn finished(&mut self, id: MessageId) {
        self.clock_set.remove(&id);
        if let Some(entry) = self.entries.remove(&id) {
            if matches!(entry.phase, Phase::Asking | Phase::Arming | Phase::Armed) {
                self.cancel_arming(entry.destination);
            }
            self.delist(entry.destination);
        }
    }

    /// Whether anything is under way, or will be without the clock going on.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        let due = || self.destinations.iter().any(|slot| slot.is_busy(now));
        self.running > 0 || (!self.paused && due())
    }

    /// With 0 jobs nothing is armed.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.touch_all();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn running(&self) -> usize {
        self.running
    }

    /// Due messages that do not run yet.
    pub(super) fn waiting(&self) -> usize {
        self.ready + self.destinations.iter().map(|slot| slot.deck).sum::<usize>() + self.backlog.len()
    }
}
