//! Operations on many messages: freeze, send, remove, recover, reroute, bounce, expire.
//!
//! Each runs in small steps, so that adds and deliveries go on meanwhile: a step claims some messages, reads them off the
//! actor's thread, commits, and gives them back as the disk has them. An operation answers when all of its messages are
//! durable; it never stops at one that fails.

use super::queue::{Claim, Note, Verb};
use super::taken::Taken;
use super::{Answer, Engine, Tag, World};
use crate::errors::operation_error;
use crate::outcome::{NewRoute, Outcome};
use spool_core::store::{Archive, Change, StoreError};
use spool_core::{Frozen, MessageId, MessageState, RetryInterval, Routing, SpoolError, Status, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Messages that one operation works on at once.
const STEP: usize = 256;
/// The same where their bodies are read.
const STEP_WITH_BODIES: usize = 16;
/// Bytes of memory that one operation asks for at once, and one message more.
const STEP_BYTES: u64 = 4 << 20;
/// The most operations at once; others are refused with `Busy`.
const MAX_BULKS: usize = 64;

/// Names an operation under way.
pub(crate) type BulkId = u64;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Freeze,
    SendNow(Arc<[RetryInterval]>),
    Remove,
    Recover(Archive),
    Reroute(NewRoute),
    /// With the reason.
    Bounce(Arc<str>),
    Expire,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Bulk<R> {
    work: Work,
    left: std::vec::IntoIter<MessageId>,
    in_hand: usize,
    outcome: Outcome,
    reply: R,
}

/// All of them, and who waits for which message.
#[derive(Debug)]
pub(super) struct Bulks<W: World> {
    running: HashMap<BulkId, Bulk<W::Reply>>,
    /// Those that have finished a step and take the next one.
    stepping: Vec<BulkId>,
    last: BulkId,
    /// Operations that wait until a message is no longer being written.
    parked: HashMap<MessageId, Vec<BulkId>>,
    /// Messages of an archive that are being written to the journal again.
    pub(super) recovering: HashSet<MessageId>,
}

impl<W: World> Default for Bulks<W> {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            stepping: Vec::new(),
            last: 0,
            parked: HashMap::new(),
            recovering: HashSet::new(),
        }
    }
}

impl<W: World> Bulks<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends all of them; their callers learn that the spool is closed.
    pub(super) fn cancel(&mut self) {
        self.running.clear();
        self.parked.clear();
    }
}

#[cfg(test)]
impl<W: World> Bulks<W> {
    /// Messages for which operations wait.
    pub(super) fn parked(&self) -> impl Iterator<Item = MessageId> {
        self.parked.keys().copied()
    }
}

impl Work {
    const fn step(&self) -> usize {
        match self {
            Self::Freeze | Self::SendNow(_) | Self::Reroute(_) => STEP,
            Self::Remove | Self::Recover(_) | Self::Bounce(_) | Self::Expire => STEP_WITH_BODIES,
        }
    }

    const fn verb(&self) -> Verb {
        match self {
            Self::Freeze => Verb::Freeze,
            Self::SendNow(_) => Verb::SendNow,
            Self::Remove | Self::Recover(_) => Verb::Remove,
            Self::Reroute(_) => Verb::Reroute,
            Self::Bounce(_) | Self::Expire => Verb::End,
        }
    }

    /// Whether it needs the bodies of its messages.
    pub(crate) const fn reads_bodies(&self) -> bool {
        matches!(self, Self::Remove | Self::Bounce(_) | Self::Expire)
    }
}

impl<W: World> Engine<W> {
    /// Begins an operation; `reply` is answered when all of its messages are as asked for, or cannot be.
    pub(super) fn start_bulk(&mut self, work: Work, mut ids: Vec<MessageId>, reply: W::Reply) {
        if let Err(error) = self.may_start(&work) {
            return self.answer(reply, Answer::Operated(Err(error)));
        }
        // Named twice, a message is meant once.
        ids.sort_unstable();
        ids.dedup();
        self.bulks.last += 1;
        let id = self.bulks.last;
        let bulk = Bulk {
            work,
            left: ids.into_iter(),
            in_hand: 0,
            outcome: Outcome::default(),
            reply,
        };
        self.bulks.running.insert(id, bulk);
        self.step(id);
    }

    fn may_start(&self, work: &Work) -> Result<(), SpoolError> {
        if matches!(work, Work::Bounce(_)) && !self.returning.is_on() {
            return Err(SpoolError::NoNotices);
        }
        self.alive()?;
        match (work, self.queue.routing()) {
            (Work::Reroute(NewRoute::To(next_hops)), _) if next_hops.is_empty() => {
                return Err(SpoolError::NoNextHop);
            }
            (Work::Reroute(NewRoute::To(_)), _)
            | (Work::Reroute(NewRoute::ByConfig), Routing::ByRules(_)) => {}
            (Work::Reroute(NewRoute::ByConfig), _) => return Err(SpoolError::NoConfiguration),
            (
                Work::Freeze
                | Work::SendNow(_)
                | Work::Remove
                | Work::Recover(_)
                | Work::Bounce(_)
                | Work::Expire,
                _,
            ) => {}
        }
        match self.bulks.running.len() >= MAX_BULKS {
            true => Err(SpoolError::Busy),
            false => Ok(()),
        }
    }

    /// Starts on the next messages, or ends the operation when none is left.
    fn step(&mut self, bulk_id: BulkId) {
        while let Some(bulk) = self.bulks.running.get_mut(&bulk_id) {
            if bulk.in_hand > 0 {
                return;
            }
            let (mut ids, mut bytes) = (Vec::new(), 0_u64);
            while ids.len() < bulk.work.step()
                && bytes < STEP_BYTES
                && let Some(id) = bulk.left.next()
            {
                bytes = bytes.saturating_add(self.queue.footprint(id, bulk.work.reads_bodies()));
                ids.push(id);
            }
            if ids.is_empty() {
                if let Some(bulk) = self.bulks.running.remove(&bulk_id) {
                    self.answer(bulk.reply, Answer::Operated(Ok(bulk.outcome)));
                }
                return;
            }
            bulk.in_hand = ids.len();
            let work = bulk.work.clone();
            self.take(bulk_id, &work, ids);
        }
    }

    fn take(&mut self, bulk_id: BulkId, work: &Work, ids: Vec<MessageId>) {
        if let Work::Recover(archive) = work {
            return self.fetch(bulk_id, *archive, ids);
        }
        let now = self.now;
        let (mut taken, mut sending) = (Vec::new(), Vec::new());
        for id in ids {
            if matches!(work, Work::SendNow(_)) && self.queue.has_no_route(id) {
                self.bulk_done(bulk_id, Err(SpoolError::NoRoute(id)));
                continue;
            }
            match self.queue.claim(id, work.verb(), now) {
                Claim::Taken(before) => {
                    self.taken_from_looking(id);
                    taken.push(Taken { id, before });
                }
                Claim::WhileSending => sending.push(id),
                Claim::Already => {
                    if matches!(work, Work::SendNow(_)) {
                        self.hurry(id);
                    }
                    self.bulk_done(bulk_id, Ok(()));
                }
                Claim::Later => self.park(bulk_id, id),
                Claim::BeingSent => self.bulk_done(bulk_id, Err(SpoolError::BeingSent(id))),
                Claim::NotFrozen => self.bulk_done(bulk_id, Err(SpoolError::NotFrozen(id))),
                Claim::Unknown => self.bulk_done(bulk_id, Err(SpoolError::NoSuchMessage(id))),
            }
        }
        for id in sending {
            if let Work::Reroute(to) = work {
                self.reroute_later(bulk_id, id, to);
                continue;
            }
            // With the start of the attempt: after a crash the message is in doubt, and frozen or not as requested.
            let freeze = matches!(work, Work::Freeze);
            let (status, frozen) = if freeze {
                (Status::Frozen, Some(Box::new(Frozen::held(now.wall, None))))
            } else {
                (Status::SendAt(now.wall), None)
            };
            let change = Change::Mark {
                id,
                status,
                frozen,
                // Not before its session has begun.
                in_flight: self.queue.is_begun(id).then_some(now.wall),
                events: Vec::new(),
            };
            self.queue.note_pending(id, true);
            let (bulk, note) = (bulk_id, Note::Freeze(freeze));
            self.commit(change, Tag::NotedWhileSending { bulk, id, note }, true);
        }
        if !taken.is_empty() {
            self.read_taken(bulk_id, work.clone(), taken);
        }
    }

    /// The disk has answered what is to become of a message when its session ends. If that is over already, nobody looked at
    /// the note: it is done now.
    pub(super) fn noted(&mut self, bulk: BulkId, id: MessageId, note: Note, result: Result<(), StoreError>) {
        self.queue.note_pending(id, false);
        if let Err(error) = result {
            return self.bulk_done(bulk, Err(operation_error(error)));
        }
        let Some(work) = self.bulks.running.get(&bulk).map(|bulk| bulk.work.clone()) else {
            return;
        };
        if self.queue.note_while_sending(id, note) {
            return self.bulk_done(bulk, Ok(()));
        }
        if self.queue.status(id, self.now).is_none() {
            // It was delivered: nothing is left to freeze or to send.
            return self.bulk_done(bulk, Ok(()));
        }
        self.take(bulk, &work, vec![id]);
    }

    /// Lets an operation wait until the change of a message is on disk. It fails at once when the spool has ended.
    fn park(&mut self, bulk: BulkId, id: MessageId) {
        if self.is_over() {
            return self.bulk_done(bulk, Err(self.error()));
        }
        match self.unwritten.error(id) {
            Some(error) => self.bulk_done(bulk, Err(operation_error(error.clone()))),
            None => self.bulks.parked.entry(id).or_default().push(bulk),
        }
    }

    /// The start or the end of an attempt could not be written: operations that wait for it fail with the reason.
    pub(super) fn stuck(&mut self, id: MessageId, error: &StoreError) {
        for bulk in self.bulks.parked.remove(&id).unwrap_or_default() {
            self.bulk_done(bulk, Err(operation_error(error.clone())));
        }
    }

    /// Notes the result for one message of an operation. [`Engine::go_on`] takes the next step.
    pub(super) fn bulk_done(&mut self, bulk_id: BulkId, result: Result<(), SpoolError>) {
        let Some(bulk) = self.bulks.running.get_mut(&bulk_id) else {
            return;
        };
        bulk.in_hand = bulk.in_hand.saturating_sub(1);
        match result {
            Ok(()) => bulk.outcome.done += 1,
            Err(error) => bulk.outcome.errors.push(error),
        }
        if bulk.in_hand == 0 {
            self.bulks.stepping.push(bulk_id);
        }
    }

    /// Lets operations go on for which something has changed: each message that is no longer being written may have some that wait for
    /// it.
    pub(super) fn go_on(&mut self) {
        loop {
            let (released, stepping) = (
                self.queue.take_released(),
                std::mem::take(&mut self.bulks.stepping),
            );
            if released.is_empty() && stepping.is_empty() {
                return;
            }
            for id in released {
                for bulk_id in self.bulks.parked.remove(&id).unwrap_or_default() {
                    if let Some(work) = self.bulks.running.get(&bulk_id).map(|bulk| bulk.work.clone()) {
                        self.take(bulk_id, &work, vec![id]);
                    }
                }
            }
            for bulk_id in stepping {
                self.step(bulk_id);
            }
        }
    }
}

/// The state of a message as it comes back: frozen, for the reason it was frozen before if that is known.
pub(super) fn frozen(mut state: MessageState, now: Timestamp) -> MessageState {
    let why = state.frozen.take();
    let why = why.unwrap_or_else(|| Box::new(Frozen::held(now, None)));
    state.set_status(Status::Frozen, Some(why));
    state.in_flight = None;
    state
}
