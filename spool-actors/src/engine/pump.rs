//! What makes the spool go: after anything happened, due messages line up, those that may start are prepared and started, the throttle is
//! asked for more permits, and the next turn is asked for.

use super::jobs::{DiskJob, ReadFor, Wanted};
use super::queue::{Next, Permitted, Refusal};
use super::tag::Tag;
use super::{Answer, Content, DestinationId, Effect, Engine, Told, World};
use spool_core::store::{Change, StoreError};
use spool_core::{Event, EventKind, Held, MessageId, NextHop, Status, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The longest sleep: a wall clock that was set, or a last handle that was dropped, is noticed after it.
const MAX_SLEEP: Duration = Duration::from_secs(1);

impl<W: World> Engine<W> {
    /// Called after anything happened.
    pub(super) fn pump(&mut self) {
        if self.is_over() {
            return;
        }
        self.queue.release_due(self.now);
        if self.queue.opens.is_some_and(|at| at <= self.now.inside) {
            self.queue.opens = None;
            self.effects.push(Effect::Tell(Told::Time));
        }
        // A message whose route has changed has another destination now, and operations that waited for it may go on.
        loop {
            let dirty = self.queue.take_dirty();
            if dirty.is_empty() {
                break;
            }
            self.fill(dirty);
            self.go_on();
        }
        self.set_wake();
    }

    fn fill(&mut self, dirty: Vec<DestinationId>) {
        let mut to_load = Vec::new();
        for destination in &dirty {
            self.recall(*destination);
            self.fill_one(*destination, &mut to_load);
        }
        for destination in dirty {
            if let Some((next_hops, more)) = self.queue.take_wanted(destination) {
                self.effects.push(Effect::Tell(Told::Demand {
                    destination,
                    next_hops,
                    more,
                }));
            }
            self.return_permits(destination, self.contended);
        }
        if !to_load.is_empty() {
            self.work(DiskJob::Read(ReadFor::Attempts, to_load));
        }
    }

    /// Starts and prepares what may be. Where there is no memory for the first in line, it waits for that: nothing overtakes it, neither
    /// in its line nor in the ledger.
    fn fill_one(&mut self, destination: DestinationId, to_load: &mut Vec<(MessageId, Held)>) {
        while let Some(next) = self.queue.next(destination, self.now) {
            match next {
                Next::Start { id, permit, recorded } => self.start(id, permit, recorded),
                Next::Prepare(id) => self.about_to_try(id),
                Next::Read(id, bytes) => match self.budget.read_now(bytes) {
                    Some(held) => to_load.push((id, held)),
                    None => {
                        self.queue.put_back(id);
                        self.wait_for_memory(destination, bytes);
                    }
                },
            }
        }
    }

    fn start(&mut self, id: MessageId, permit: Permitted<W>, recorded: bool) {
        let Permitted { permit, is_kept, .. } = permit;
        let Some(Content { message, body, .. }) = self.queue.content(id) else {
            return self.effects.push(Effect::Return(permit, None));
        };
        let job = spool_core::Job {
            message: message.id,
            flows: message.flows.clone(),
            next_hops: Arc::clone(&message.next_hops),
            envelope: Arc::clone(&message.envelope),
            recipients: message.state.remaining.clone(),
            body: body.clone(),
            // The shell's own.
            path: Arc::clone(&message.next_hops),
            begin: spool_core::Begin::recorded(),
            halt: spool_core::Halt::default(),
        };
        if is_kept {
            self.effects.push(Effect::Tell(Told::Started(W::name(&permit))));
        }
        self.effects.push(Effect::Start {
            job,
            permit,
            recorded,
        });
    }

    fn wait_for_memory(&mut self, destination: DestinationId, bytes: u64) {
        self.queue.starved.insert(destination);
        // What can be read again makes room for what must be sent now.
        self.queue.let_go_of_all();
        let wanted = Wanted::Line(destination);
        self.effects.push(Effect::WaitForMemory { bytes, wanted });
    }

    /// There is memory for what has waited for it.
    pub(super) fn has_memory(&mut self, wanted: Wanted, held: Held) {
        match wanted {
            Wanted::Line(destination) => self.fed(destination, held),
            Wanted::Claimed(id, work, ids) => self.read_charged(id, work, ids, held),
        }
    }

    /// There is memory for the first in this line; by now that may be another message.
    fn fed(&mut self, destination: DestinationId, mut held: Held) {
        self.queue.feed(destination);
        if self.is_over() {
            return;
        }
        match self.queue.next_fed(destination, self.now) {
            None => {}
            Some(Next::Start { id, permit, recorded }) => self.start(id, permit, recorded),
            Some(Next::Prepare(id)) => self.about_to_try(id),
            Some(Next::Read(id, bytes)) if bytes <= held.bytes() => {
                held.resize(bytes);
                self.work(DiskJob::Read(ReadFor::Attempts, vec![(id, held)]));
            }
            Some(Next::Read(id, _)) => self.queue.put_back(id),
        }
    }

    /// The hook is asked first, if there is one.
    pub(super) fn about_to_try(&mut self, id: MessageId) {
        if self.is_over() {
            // Nothing was written: it waits on disk as before.
            let before = self.queue.content(id).map(|content| content.message.state.status);
            return self.queue.waits(id, before.unwrap_or(Status::Frozen), self.now);
        }
        if !self.is_routed(id) {
            return;
        }
        if !self.presend {
            return self.prepared(id);
        }
        if let Some(content) = self.queue.content(id) {
            let message = Arc::new(content.message.clone());
            self.working += 1;
            self.effects.push(Effect::AskPresend(message));
        }
    }

    /// Nothing is left to be asked about a message. Beside a session the start of its attempt is recorded at once; otherwise it is once the
    /// attempt has a session.
    pub(super) fn prepared(&mut self, id: MessageId) {
        // The routes may have changed while the hook was asked.
        if !self.is_routed(id) {
            return;
        }
        if self.queue.prepared(id) {
            self.record_start(id, None);
        }
    }

    /// An attempt has its session and asks whether it may start. It may not if an operation has changed the message meanwhile.
    pub(super) fn may_begin(&mut self, id: MessageId, reply: W::Reply) {
        match !self.is_over() && self.closing.is_none() && self.queue.may_begin(id) {
            true => {
                self.queue.starting(id, true);
                self.record_start(id, Some(reply));
            }
            false => self.refuse(id, reply, Refusal::Withdrawn),
        }
    }

    /// An attempt that has its session does not start.
    pub(super) fn refuse(&mut self, id: MessageId, reply: W::Reply, why: Refusal) {
        self.queue.starting(id, false);
        if let Some(noted) = self.queue.afterwards(id) {
            noted.refusal = Some(why);
        }
        self.answer(reply, Answer::Begun(false));
    }

    /// Durable before the first MAIL: after a crash it is known that the next hop may hold the message. `reply` waits for it; without one,
    /// the message has no permit yet.
    fn record_start(&mut self, id: MessageId, reply: Option<W::Reply>) {
        let Some((next_hops, origin)) = self.queue.take_unwritten_route(id) else {
            return self.begin(id, reply);
        };
        // On disk before the start: after a crash it is known where the attempt went. The disk may have room for a start and none
        // for a route.
        let change = Change::Route {
            id,
            origin,
            events: self.route_news(id, &next_hops),
            next_hops,
        };
        self.commit(change, Tag::Routed { reply }, true);
    }

    /// The event for a message that the configuration leads elsewhere now, unless it was told already.
    fn route_news(&mut self, id: MessageId, next_hops: &Arc<[NextHop]>) -> Vec<Event> {
        if !self.queue.take_route_news(id) {
            return Vec::new();
        }
        let content = self.queue.content(id);
        let kind = EventKind::Rerouted(Arc::clone(next_hops));
        content
            .map(|content| self.tell(kind, &content.message))
            .into_iter()
            .collect()
    }

    /// Writes the start of an attempt whose next hops are on disk.
    pub(super) fn begin(&mut self, id: MessageId, reply: Option<W::Reply>) {
        let now = self.now.wall;
        let content = self.queue.content_mut(id);
        let events = content.map_or_else(Vec::new, |content| std::mem::take(&mut content.events));
        let change = Change::Mark {
            id,
            status: Status::SendAt(now),
            frozen: None,
            in_flight: Some(now),
            events,
        };
        self.commit(change, Tag::Armed { reply }, true);
    }

    /// The disk has answered for the start of an attempt that has its session.
    pub(super) fn begun(&mut self, id: MessageId, reply: W::Reply, result: Result<(), StoreError>) {
        match result {
            Ok(()) => self.begun.push((id, reply)),
            Err(error) => self.refuse(id, reply, Refusal::NotWritten(error)),
        }
    }

    /// Starts the attempts whose start is on disk, after all inputs of the turn.
    pub(super) fn let_begin(&mut self) {
        for (id, reply) in std::mem::take(&mut self.begun) {
            self.queue.starting(id, false);
            match !self.is_over() && self.queue.may_begin(id) {
                true => self.answer(reply, Answer::Begun(true)),
                false => self.refuse(id, reply, Refusal::Withdrawn),
            }
        }
    }

    /// What cannot be read cannot be sent; it stays where it is, and stays visible. Descriptors and memory come back.
    pub(super) fn unreadable(&mut self, id: MessageId, error: &StoreError) {
        if matches!(error, StoreError::NotNow { .. }) {
            return self.begin_later(id, error);
        }
        tracing::error!(%id, %error, "cannot read a message; it is kept frozen");
        self.queue.waits(id, Status::Frozen, self.now);
    }

    /// A permit was granted.
    pub(super) fn granted(&mut self, destination: DestinationId, permit: W::Permit) {
        let unused = match self.is_over() {
            true => Some(permit),
            false => self.queue.granted(destination, permit),
        };
        self.effects
            .extend(unused.map(|permit| Effect::Return(permit, None)));
    }

    /// Sets whether other destinations wait for permits. While they do, no free permit is kept.
    pub(super) fn set_contended(&mut self, contended: bool) {
        self.contended = contended;
        self.returns_idle |= contended;
    }

    /// Returns permits that no message needs.
    pub(super) fn return_idle_permits(&mut self) {
        for destination in self.queue.idle.clone() {
            self.return_permits(destination, true);
        }
    }

    fn return_permits(&mut self, destination: DestinationId, all: bool) {
        for permit in self.queue.take_idle_permits(destination, all) {
            self.effects.push(Effect::Return(permit, None));
        }
    }

    fn set_wake(&mut self) {
        let times = [self.queue.next_due(), self.queue.opens];
        let next = times
            .into_iter()
            .flatten()
            .fold(self.now.inside.after(MAX_SLEEP), Timestamp::min);
        // An earlier turn than needed does no harm; setting the timer for every message would.
        if self.wake.is_none_or(|at| at > next || at <= self.now.inside) {
            self.wake = Some(next);
            self.effects.push(Effect::Wake(next));
        }
    }
}
