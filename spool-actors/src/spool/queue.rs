//! The queue: what each message waits for, and which one is next. Pure: it is told the time and what happened.
//!
//! A waiting message costs an entry here and a place in one heap; its envelope and body are on disk. It never drops
//! a message by itself: an entry leaves only when the disk says that the message is finished.

use super::content::Content;
use crate::throttle::DestinationId;
use spool_core::store::Recovered;
use spool_core::{MessageId, NextHop, Queue as QueueName, ShownStatus, Status, Timestamp};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// The most attempts of one destination whose begin is on disk before their session may start. They start without
/// waiting for a sync; after a crash each of them is in doubt.
const DECK: usize = 64;

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until its time comes.
    Waiting(Timestamp),
    /// Due, in its destination's line.
    Ready,
    /// On the deck: being read, or its begin being written.
    Arming,
    /// On the deck: its begin is on disk, it waits for a permit.
    Armed,
    /// A session runs.
    Running,
    /// The session's end is being written.
    Settling,
    /// Waits for a person.
    Frozen,
}

#[derive(Debug)]
struct Entry {
    destination: DestinationId,
    phase: Phase,
    spooled_at: Timestamp,
    body_size: u64,
    content: Option<Box<Content>>,
}

#[derive(Debug)]
struct Destination {
    next_hops: Arc<[NextHop]>,
    messages: usize,
    ready: VecDeque<MessageId>,
    armed: VecDeque<MessageId>,
    /// Armed since the throttle was last asked.
    newly_armed: usize,
    deck: usize,
    dirty: bool,
}

/// All messages on the spool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: HashMap<MessageId, Entry>,
    due: BinaryHeap<Reverse<(Timestamp, MessageId)>>,
    /// Past due at the start, oldest last; released bit by bit.
    backlog: Vec<MessageId>,
    destinations: Vec<Destination>,
    free: Vec<DestinationId>,
    by_hops: HashMap<Arc<[NextHop]>, DestinationId>,
    dirty: Vec<DestinationId>,
    starved: Vec<DestinationId>,
    ready: usize,
    running: usize,
    paused: bool,
}

/// A message for the deck.
#[derive(Debug)]
pub(super) struct ToArm {
    pub(super) id: MessageId,
    pub(super) body_size: u64,
    pub(super) has_content: bool,
}

impl Queue {
    /// Takes in what was there at the start. Past-due messages go to the backlog.
    pub(super) fn recover(&mut self, messages: Vec<Recovered>, now: Timestamp) {
        let mut past: Vec<(Timestamp, MessageId)> = Vec::new();
        for message in messages {
            let phase = match message.status {
                Status::Frozen => Phase::Frozen,
                Status::SendAt(due) => Phase::Waiting(due),
            };
            let destination = self.enlist(&message.next_hops);
            self.insert(
                message.id,
                destination,
                phase,
                message.spooled_at,
                message.body_size,
                None,
            );
            if let Phase::Waiting(due) = phase {
                match due <= now {
                    true => past.push((due, message.id)),
                    false => self.due.push(Reverse((due, message.id))),
                }
            }
        }
        past.sort_unstable_by(|a, b| b.cmp(a));
        self.backlog = past.into_iter().map(|(_, id)| id).collect();
    }

    /// The destination for these next hops, made when new; it will have one message more.
    pub(super) fn enlist(&mut self, next_hops: &Arc<[NextHop]>) -> DestinationId {
        let id = self.destination(next_hops);
        if let Some(slot) = self.slot(id) {
            slot.messages += 1;
        }
        id
    }

    /// The message enlisted for `destination` does not come, or has gone.
    pub(super) fn delist(&mut self, destination: DestinationId) {
        let Some(slot) = self.slot(destination) else {
            return;
        };
        slot.messages = slot.messages.saturating_sub(1);
        if slot.messages == 0 && slot.deck == 0 {
            let hops = Arc::clone(&slot.next_hops);
            self.by_hops.remove(&hops);
            self.free.push(destination);
        }
    }

    fn destination(&mut self, next_hops: &Arc<[NextHop]>) -> DestinationId {
        if let Some(known) = self.by_hops.get(next_hops) {
            return *known;
        }
        let next_hops = Arc::clone(next_hops);
        let (messages, deck) = (0, 0);
        let fresh = Destination {
            next_hops: Arc::clone(&next_hops),
            messages,
            ready: VecDeque::new(),
            armed: VecDeque::new(),
            newly_armed: 0,
            deck,
            dirty: false,
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

    fn slot(&mut self, id: DestinationId) -> Option<&mut Destination> {
        self.destinations.get_mut(usize::try_from(id).ok()?)
    }

    fn insert(
        &mut self,
        id: MessageId,
        destination: DestinationId,
        phase: Phase,
        spooled_at: Timestamp,
        body_size: u64,
        content: Option<Box<Content>>,
    ) {
        self.entries.insert(
            id,
            Entry {
                destination,
                phase,
                spooled_at,
                body_size,
                content,
            },
        );
    }

    /// Takes a place on the deck for a message that is being added, if there is one: its begin is then written with
    /// the add itself. Given back by [`Queue::cancel_arming`] or by what becomes of the message.
    pub(super) fn reserve_deck(&mut self, destination: DestinationId) -> bool {
        let paused = self.paused;
        match self.slot(destination) {
            Some(slot) if !paused && slot.deck < DECK && slot.ready.is_empty() => {
                slot.deck += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The add failed: its place on the deck is free.
    pub(super) fn cancel_arming(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.deck = slot.deck.saturating_sub(1);
        }
        self.touch(destination);
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
        let (id, spooled_at, size) = (message.id, message.spooled_at, message.body_size);
        let phase = match status {
            Status::Frozen => Phase::Frozen,
            Status::SendAt(_) if armed => Phase::Armed,
            Status::SendAt(_) => Phase::Ready,
        };
        let content = (phase != Phase::Frozen).then_some(content);
        self.insert(id, destination, phase, spooled_at, size, content);
        match phase {
            Phase::Armed => self.arm_now(id, destination),
            Phase::Ready => self.line_up(id, destination),
            Phase::Waiting(_) | Phase::Arming | Phase::Running | Phase::Settling | Phase::Frozen => {}
        }
    }

    fn arm_now(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.armed.push_back(id);
            slot.newly_armed += 1;
        }
        self.touch(destination);
    }

    fn line_up(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(slot) = self.slot(destination) {
            slot.ready.push_back(id);
            self.ready += 1;
        }
        self.touch(destination);
    }

    fn touch(&mut self, destination: DestinationId) {
        if let Some(slot) = self.slot(destination)
            && !slot.dirty
        {
            slot.dirty = true;
            self.dirty.push(destination);
        }
    }

    /// Destinations where something changed since the last call.
    pub(super) fn take_dirty(&mut self) -> Vec<DestinationId> {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(slot) = self.slot(*id) {
                slot.dirty = false;
            }
        }
        dirty
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
            let Some(id) = self.backlog.pop() else { break };
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

    /// When something becomes due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The next message in line for which the deck has room; it is `Arming` now.
    pub(super) fn next_to_arm(&mut self, destination: DestinationId) -> Option<ToArm> {
        if self.paused {
            return None;
        }
        let slot = self.slot(destination).filter(|slot| slot.deck < DECK)?;
        let id = slot.ready.pop_front()?;
        slot.deck += 1;
        self.ready -= 1;
        let entry = self.entries.get_mut(&id)?;
        entry.phase = Phase::Arming;
        Some(ToArm {
            id,
            body_size: entry.body_size,
            has_content: entry.content.is_some(),
        })
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
            slot.deck = slot.deck.saturating_sub(1);
            self.ready += 1;
        }
    }

    /// Keeps what was read for a message on the deck.
    pub(super) fn keep(&mut self, content: Box<Content>) {
        if let Some(entry) = self.entries.get_mut(&content.message.id) {
            entry.content = Some(content);
        }
    }

    /// Its begin is on disk.
    pub(super) fn armed(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.phase == Phase::Arming
        {
            entry.phase = Phase::Armed;
            let destination = entry.destination;
            self.arm_now(id, destination);
        }
    }

    /// How many permits to ask for: each armed message asks once.
    pub(super) fn take_newly_armed(&mut self, destination: DestinationId) -> usize {
        self.slot(destination)
            .map_or(0, |slot| std::mem::take(&mut slot.newly_armed))
    }

    /// There was no memory for the head of this line; it is looked at again when some is given back.
    pub(super) fn starve(&mut self, destination: DestinationId) {
        self.starved.push(destination);
    }

    /// Memory was given back.
    pub(super) fn feed_starved(&mut self) {
        for destination in std::mem::take(&mut self.starved) {
            self.touch(destination);
        }
    }

    /// Starts the next armed message of `destination`: it is `Running` now.
    pub(super) fn start(&mut self, destination: DestinationId) -> Option<&Content> {
        let slot = self.slot(destination)?;
        let id = slot.armed.pop_front()?;
        slot.deck = slot.deck.saturating_sub(1);
        self.touch(destination);
        self.running += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.phase = Phase::Running;
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
        let on_deck = matches!(entry.phase, Phase::Arming | Phase::Armed);
        let destination = entry.destination;
        entry.content = None;
        entry.phase = match status {
            Status::Frozen => Phase::Frozen,
            Status::SendAt(due) => {
                self.due.push(Reverse((due, id)));
                Phase::Waiting(due)
            }
        };
        if on_deck {
            self.cancel_arming(destination);
        }
    }

    /// Takes every armed message off the deck, to be written back as waiting.
    pub(super) fn disarm_all(&mut self) -> Vec<(MessageId, Timestamp)> {
        let mut disarmed = Vec::new();
        for slot in &mut self.destinations {
            disarmed.extend(slot.armed.drain(..));
        }
        let spooled_at = |id: MessageId| self.entries.get(&id).map(|entry| (id, entry.spooled_at));
        disarmed.into_iter().filter_map(spooled_at).collect()
    }

    /// The disk holds its end.
    pub(super) fn finished(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.delist(entry.destination);
        }
    }

    /// Memory is short: what waits in line is read again when its turn comes.
    pub(super) fn let_go(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.phase == Phase::Ready
        {
            entry.content = None;
        }
    }

    /// With 0 jobs nothing is armed.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        for id in 0..self.destinations.len() {
            self.touch(DestinationId::try_from(id).unwrap_or(DestinationId::MAX));
        }
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

    /// Every message, as a listing shows it at `now`.
    pub(super) fn list(&self, now: Timestamp) -> impl Iterator<Item = spool_core::MessageSummary> {
        self.entries.iter().filter_map(move |(id, entry)| {
            let status = match entry.phase {
                Phase::Waiting(due) => ShownStatus::at(Status::SendAt(due), now),
                Phase::Ready | Phase::Arming | Phase::Armed => ShownStatus::SendNow,
                Phase::Running | Phase::Settling => ShownStatus::Sending,
                Phase::Frozen => ShownStatus::Frozen,
            };
            let slot = self.destinations.get(usize::try_from(entry.destination).ok()?)?;
            Some(spool_core::MessageSummary {
                id: *id,
                queue: if status.is_frozen() {
                    QueueName::Frozen
                } else {
                    QueueName::Active
                },
                status,
                spooled_at: entry.spooled_at,
                next_hops: Arc::clone(&slot.next_hops),
                envelope: None,
            })
        })
    }
}
