//! Operations on many messages: freeze, send, remove, recover, reroute, bounce, expire.
//!
//! Each runs in small steps, so that adds and deliveries go on meanwhile: a step claims some messages, reads them off the
//! actor's thread, commits, and gives them back as the disk has them. An operation answers when all of its messages are
//! durable; it never stops at one that fails.

use super::SpoolActor;
use super::commit::Tag;
use super::messages::{Freeze, NewRoute, Outcome, Recover, Remove, Reroute, SendNow, Which};
use super::queue::{Claim, Note, Verb};
use super::taken::Taken;
use crate::supervision::{Ending, Part};
use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture};
use spool_core::store::{Change, Shelf, StoreError};
use spool_core::{Frozen, MessageId, MessageState, RetryInterval, Routing, SpoolError, Status, Timestamp};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Messages that one operation has in hand at once.
const STEP: usize = 256;
/// The same where their bodies are read.
const STEP_WITH_BODIES: usize = 16;
/// Bytes of memory that one operation asks for at once, and one message more.
const STEP_BYTES: u64 = 4 << 20;
/// Operations at once; more wait for their turn in the mailbox of whoever asks.
const MAX_BULKS: usize = 64;

/// Names an operation under way.
pub(super) type BulkId = u64;

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Freeze,
    SendNow(Arc<[RetryInterval]>),
    Remove,
    Recover(Shelf),
    Reroute(NewRoute),
    /// With the reason.
    Bounce(Arc<str>),
    Expire,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Bulk {
    work: Work,
    left: std::vec::IntoIter<MessageId>,
    in_hand: usize,
    outcome: Outcome,
    reply: oneshot::Sender<Outcome>,
}

/// All of them, and who waits for which message.
#[derive(Debug, Default)]
pub(super) struct Bulks {
    running: HashMap<BulkId, Bulk>,
    last: BulkId,
    /// Operations that wait until a message is no longer being written.
    parked: HashMap<MessageId, Vec<BulkId>>,
}

impl Bulks {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends all of them; their askers learn that the spool is closed.
    pub(super) fn cancel(&mut self) {
        self.running.clear();
        self.parked.clear();
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
    pub(super) const fn reads_bodies(&self) -> bool {
        matches!(self, Self::Remove | Self::Bounce(_) | Self::Expire)
    }
}

pub(super) type Reply = ResponseFuture<Result<Outcome, SpoolError>>;

impl Handler<Freeze> for SpoolActor {
    type Result = Reply;
    fn handle(&mut self, freeze: Freeze, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(freeze, ctx.address());
        }
        self.start_bulk(Work::Freeze, freeze.0, ctx)
    }
}

impl Handler<SendNow> for SpoolActor {
    type Result = Reply;
    fn handle(&mut self, send: SendNow, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(send, ctx.address());
        }
        let ids = match send.which {
            Which::AllMessages => self.queue.ids(true),
            Which::FrozenOnly => self.queue.ids(false),
            Which::SomeMessages(ids) => ids,
        };
        self.start_bulk(Work::SendNow(send.retry_intervals.into()), ids, ctx)
    }
}

impl Handler<Remove> for SpoolActor {
    type Result = Reply;
    fn handle(&mut self, remove: Remove, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(remove, ctx.address());
        }
        self.start_bulk(Work::Remove, remove.0, ctx)
    }
}

impl Handler<Recover> for SpoolActor {
    type Result = Reply;
    fn handle(&mut self, recover: Recover, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(recover, ctx.address());
        }
        self.start_bulk(Work::Recover(recover.from), recover.ids, ctx)
    }
}

impl Handler<Reroute> for SpoolActor {
    type Result = Reply;
    fn handle(&mut self, reroute: Reroute, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(reroute, ctx.address());
        }
        match (&reroute.to, self.queue.routing()) {
            (NewRoute::To(next_hops), _) if next_hops.is_empty() => {
                Box::pin(std::future::ready(Err(SpoolError::NoNextHop)))
            }
            (NewRoute::To(_), _) | (NewRoute::ByConfig, Routing::ByRules(_)) => {
                tracing::debug!(messages = reroute.ids.len(), to = ?reroute.to, "messages get another route");
                self.start_bulk(Work::Reroute(reroute.to), reroute.ids, ctx)
            }
            (NewRoute::ByConfig, _) => Box::pin(std::future::ready(Err(SpoolError::NoConfiguration))),
        }
    }
}

impl SpoolActor {
    pub(super) fn start_bulk(
        &mut self,
        work: Work,
        mut ids: Vec<MessageId>,
        ctx: &mut Context<Self>,
    ) -> Reply {
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        if self.bulks.running.len() >= MAX_BULKS {
            let busy = SpoolError::Busy {
                retry_after: crate::gate::RETRY_AFTER,
            };
            return Box::pin(std::future::ready(Err(busy)));
        }
        // Named twice, a message is meant once.
        ids.sort_unstable();
        ids.dedup();
        let (reply, outcome) = oneshot::channel();
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
        self.step(id, ctx);
        // What it has hurried goes on now.
        self.after_anything(ctx);
        // Its sender is gone when the spool has ended meanwhile.
        let supervision = self.supervision.clone();
        Box::pin(async move { outcome.await.map_err(|_| supervision.error()) })
    }

    /// Takes the next messages in hand, or ends the operation when there is none left.
    fn step(&mut self, bulk_id: BulkId, ctx: &mut Context<Self>) {
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
                    // Whoever asked may have stopped waiting; it is done all the same.
                    let _ = bulk.reply.send(bulk.outcome);
                }
                return;
            }
            bulk.in_hand = ids.len();
            let work = bulk.work.clone();
            self.take(bulk_id, &work, ids, ctx);
        }
    }

    fn take(&mut self, bulk_id: BulkId, work: &Work, ids: Vec<MessageId>, ctx: &mut Context<Self>) {
        if let Work::Recover(shelf) = work {
            return self.fetch(bulk_id, *shelf, ids, ctx);
        }
        let now = self.now();
        let (mut taken, mut sending) = (Vec::new(), Vec::new());
        for id in ids {
            if matches!(work, Work::SendNow(_)) && self.queue.has_no_route(id) {
                self.bulk_done(bulk_id, Err(SpoolError::NoRoute(id)));
                continue;
            }
            match self.queue.claim(id, work.verb(), now) {
                Claim::Taken(before) => taken.push(Taken { id, before }),
                Claim::WhileSending => sending.push(id),
                Claim::Already => {
                    if matches!(work, Work::SendNow(_)) {
                        self.queue.hurry(id, now);
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
            // With the begin of the attempt: after a crash it is in doubt, and frozen or not as was asked for.
            let freeze = matches!(work, Work::Freeze);
            let (status, frozen) = if freeze {
                (Status::Frozen, Some(Box::new(Frozen::held(now, None))))
            } else {
                (Status::SendAt(now), None)
            };
            let change = Change::Mark {
                id,
                status,
                frozen,
                in_flight: Some(now),
                events: Vec::new(),
            };
            let (bulk, note) = (bulk_id, Note::Freeze(freeze));
            self.commit(change, Tag::NotedWhileSending { bulk, id, note }, true);
        }
        if !taken.is_empty() {
            self.read_taken(bulk_id, work.clone(), taken, ctx);
        }
    }

    /// The disk has answered what is to become of a message when its session ends. If that is over already, nobody looked at
    /// the note: it is done now.
    pub(super) fn noted(
        &mut self,
        bulk: BulkId,
        id: MessageId,
        note: Note,
        result: Result<(), StoreError>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = result {
            return self.bulk_done(bulk, Err(operation_error(error)));
        }
        let Some(work) = self.bulks.running.get(&bulk).map(|bulk| bulk.work.clone()) else {
            return;
        };
        if self.queue.note_while_sending(id, note) {
            return self.bulk_done(bulk, Ok(()));
        }
        if self.queue.status(id, self.clock.now()).is_none() {
            // It was delivered: nothing is left to freeze or to send.
            return self.bulk_done(bulk, Ok(()));
        }
        self.take(bulk, &work, vec![id], ctx);
    }

    /// Until what is being written of the message is on disk; which it never is when the spool has ended.
    fn park(&mut self, bulk: BulkId, id: MessageId) {
        if self.supervision.is_over() {
            return self.bulk_done(bulk, Err(self.supervision.error()));
        }
        match self.unwritten.error(id) {
            Some(error) => self.bulk_done(bulk, Err(operation_error(error.clone()))),
            None => self.bulks.parked.entry(id).or_default().push(bulk),
        }
    }

    /// The end or the begin of an attempt could not be written: whoever waits for it learns why.
    pub(super) fn stuck(&mut self, id: MessageId, error: &StoreError) {
        for bulk in self.bulks.parked.remove(&id).unwrap_or_default() {
            self.bulk_done(bulk, Err(operation_error(error.clone())));
        }
    }

    /// Notes how one message of an operation fared. The next step follows in [`SpoolActor::go_on`].
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
            self.stepping.push(bulk_id);
        }
    }

    /// Lets operations go on for which something has changed.
    pub(super) fn go_on(&mut self, ctx: &mut Context<Self>) {
        while !self.unparked.is_empty() || !self.stepping.is_empty() {
            for id in std::mem::take(&mut self.unparked) {
                for bulk_id in self.bulks.parked.remove(&id).unwrap_or_default() {
                    if let Some(work) = self.bulks.running.get(&bulk_id).map(|bulk| bulk.work.clone()) {
                        self.take(bulk_id, &work, vec![id], ctx);
                    }
                }
            }
            for bulk_id in std::mem::take(&mut self.stepping) {
                self.step(bulk_id, ctx);
            }
        }
    }

    /// Runs `work` on the blocking pool, then `then` here, with all that follows from it.
    pub(super) fn off_thread<T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        self.loading += 1;
        let supervision = self.supervision.clone();
        let work = tokio::task::spawn_blocking(move || {
            supervision.failpoint(Part::BlockingJob);
            work()
        });
        ctx.spawn(
            wrap_future(work).map(move |done, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.loading = actor.loading.saturating_sub(1);
                match done {
                    Ok(done) => actor.guarded(ctx, |actor, ctx| then(actor, done, ctx)),
                    Err(_) => actor.supervision.end(Ending::Panicked(Part::BlockingJob)),
                }
                actor.guarded(ctx, Self::after_anything);
            }),
        );
    }

    /// Runs what follows a future. A panic there would be met again each time the actor is polled, and nothing else would be
    /// done any more.
    pub(super) fn guarded(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>),
    ) {
        if catch_unwind(AssertUnwindSafe(|| work(self, ctx))).is_err() {
            self.supervision.end(Ending::Panicked(Part::Spool));
        }
    }
}

/// What a failure of the store means for one message of an operation.
pub(super) fn operation_error(error: StoreError) -> SpoolError {
    match error {
        StoreError::NoSuchMessage(id) => SpoolError::NoSuchMessage(id),
        StoreError::Damaged { id, reason } => SpoolError::Unreadable { id, reason },
        StoreError::Full(why) => SpoolError::Full(why),
        StoreError::Loading | StoreError::Shortage(_) | StoreError::NotNow { .. } => SpoolError::Busy {
            retry_after: crate::gate::RETRY_AFTER,
        },
        other @ (StoreError::Failed(_) | StoreError::Invalid(_) | _) => SpoolError::Disk(other.to_string()),
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
