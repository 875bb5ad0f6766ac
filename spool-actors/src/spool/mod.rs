//! SpoolActor: the queue's owner, and the address everything is asked of.
//!
//! It runs on one arbiter and never waits there: the disk is reached through the writer thread and the blocking pool,
//! the network through [`DeliveryActor`](crate::DeliveryActor)s. It replies, and tells of events, only after the disk
//! holds what it says.

mod add;
mod asks;
mod attempts;
mod bulk;
mod by_hand;
mod clean;
mod commit;
mod content;
mod destinations;
mod explain;
mod keys;
mod learning;
mod listing;
mod loading;
pub(crate) mod messages;
mod open;
mod operations;
mod parts;
mod presend;
mod pulse;
mod pump;
mod queue;
mod recover;
mod reroute;
mod returning;
mod routes;
mod signed;
mod taken;
mod unattended;
mod unwritten;

pub use by_hand::{Bounce, Expire};
pub use destinations::{Circuit, DestinationState, Destinations, ResetDestination, SetPolicies};
#[cfg(test)]
pub(crate) use loading::start as start_loader;
pub use open::{OpenSpool, Spool};
pub use pulse::{GetPulse, Progress, Pulse};
pub use returning::SetNotices;
pub use routes::SetRouting;

use crate::event_hub::EventHub;
use crate::event_hub::messages::Publish;
use crate::gate::Gate;
use crate::supervision::{Ending, Supervision};
use crate::throttle::Throttle;
use crate::workers::Workers;
use crate::writer::Writer;
use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, SpawnHandle};
use bulk::{BulkId, Bulks};
use commit::Tag;
use keys::Keys;
use learning::Keeping;
use loading::LoadState;
use messages::{Flushed, Idle};
use queue::Queue;
use returning::Returning;
use routes::Looking;
use signed::Signing;
use spool_core::store::{Change, Store};
use spool_core::{
    Budget, Clock, DeliveryAgent, Dice, EnvelopeSummary, Event, EventKind, Hooks, IdSource, JumpWatch,
    Message, MessageId, Timestamp,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use unattended::Unattended;
use unwritten::Unwritten;

/// The actor that owns a spool. See [`crate`] for the messages it takes.
pub struct SpoolActor {
    store: Arc<Store>,
    writer: Option<Writer<Tag>>,
    /// Changes handed to the writer and not yet answered.
    pending: usize,
    /// Batches of them that the writer has answered.
    commits: u64,
    clock: Arc<dyn Clock>,
    watch: JumpWatch,
    dice: Arc<dyn Dice>,
    ids: IdSource,
    queue: Queue,
    keys: Keys,
    bulks: Bulks,
    /// Messages that are no longer being written, and operations that may go on.
    unparked: Vec<MessageId>,
    stepping: Vec<BulkId>,
    looking: Looking,
    unwritten: Unwritten,
    hooks: Hooks,
    budget: Budget,
    gate: Gate,
    supervision: Supervision,
    throttle: Option<Addr<Throttle>>,
    hub: Addr<EventHub>,
    listening: Arc<AtomicUsize>,
    agent: Arc<dyn DeliveryAgent>,
    workers: Workers,
    max_jobs: usize,
    max_recipients: usize,
    /// How many times it was set.
    epoch: u64,
    keeping: Keeping,
    release_rate: u32,
    /// Messages that a former process was sending when it ended.
    interrupted: Vec<MessageId>,
    /// Those of them that were given another route meanwhile.
    rerouted: HashSet<MessageId>,
    unattended: Unattended,
    /// Whether what was there at the start has come.
    loaded: LoadState,
    /// Loads from disk under way.
    loading: usize,
    scrub_rate: u64,
    cleaning: bool,
    /// The files are being looked at.
    watching: bool,
    wake: Option<(Timestamp, SpawnHandle)>,
    /// What the disk has answered, to be published.
    events: Vec<Event>,
    last_event: watch::Sender<u64>,
    last_seq: u64,
    ping: Duration,
    /// Who waits until nothing is to be done.
    idle: Vec<oneshot::Sender<Idle>>,
    delivered: u64,
    returning: Returning,
    signing: Signing,
    killed: Option<Killing>,
}

/// How soon it is noticed that the last address is gone, or that a full disk has room again.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether the files are still there.
const WATCH: Duration = Duration::from_millis(500);

/// A kill under way.
struct Killing {
    replies: Vec<oneshot::Sender<Flushed>>,
    stage: Stage,
}

/// How far a kill has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Sessions run.
    Draining,
    /// What was about to start is written back as waiting.
    Disarming,
    /// The agent closes its idle sessions.
    Closing,
    /// The directory is free, and no thread is left but this one.
    Closed,
}

impl Actor for SpoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The mailbox is no bound (it grows with each address); the memory budget is.
        ctx.set_mailbox_capacity(1024);
        ctx.run_interval(TICK, |actor, ctx| {
            actor.write_again();
            actor.clean(ctx);
            actor.settle_interrupted(ctx);
            actor.keep_destinations(ctx);
            actor.end_unless_wanted(ctx);
        });
        ctx.run_interval(WATCH, |actor, ctx| actor.watch_files(ctx));
        let ended = wrap_future(self.supervision.ended());
        ctx.spawn(ended.map(|_, actor: &mut Self, _| actor.has_ended()));
        self.signing.start(ctx);
        self.start_throttle(ctx);
        self.listen_for_room(ctx);
        self.pump(ctx);
    }

    /// Everything handed to the writer is on disk before the lock is let go.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.supervision.end(Ending::Killed);
        drop(self.writer.take());
    }
}

impl SpoolActor {
    fn commit(&mut self, change: Change, tag: Tag, urgent: bool) {
        if let Some(writer) = &self.writer {
            self.pending += 1;
            writer.push(change, tag, urgent);
        }
    }

    /// The wall clock. When it was set, whatever waits goes on waiting for as long as it would have.
    fn now(&mut self) -> Timestamp {
        let (now, jump) = self.watch.look(self.clock.as_ref());
        if let Some(millis) = jump {
            tracing::warn!(
                seconds = millis / 1000,
                "the wall clock was set; what waits is not moved by it"
            );
            self.queue.clock_was_set(millis);
            self.keys.clock_was_set(millis);
        }
        now
    }

    /// An event for a change; the store gives it its number.
    fn tell(&self, kind: EventKind, message: &Message) -> Event {
        let mut event = Event::new(0, self.clock.now(), kind);
        event.id = Some(message.id);
        event.flows.clone_from(&message.flows);
        event.envelope = Some(Arc::new(EnvelopeSummary::whole(message)));
        if event.kind == EventKind::Frozen {
            event.reason = message.state.frozen.as_ref().map(ToString::to_string);
        }
        event
    }

    /// Notes the events of a change that the disk holds; [`SpoolActor::publish`] sends them on.
    fn happened(&mut self, events: &mut Vec<Event>) {
        if let Some(last) = events.last() {
            self.last_seq = last.seq;
        }
        if self.listening.load(Ordering::Acquire) > 0 {
            self.events.append(events);
        }
    }

    fn publish(&mut self) {
        // Those who follow the log look there.
        let last = self.last_seq;
        self.last_event
            .send_if_modified(|seq| std::mem::replace(seq, last) != last);
        if !self.events.is_empty() {
            self.hub.do_send(Publish(std::mem::take(&mut self.events)));
        }
    }

    /// What follows whenever something has changed.
    fn after_anything(&mut self, ctx: &mut Context<Self>) {
        self.budget.set_standing(self.queue.standing());
        self.publish();
        self.give_up_expired(ctx);
        self.look_on(ctx);
        self.go_on(ctx);
        self.pump(ctx);
        self.answer_idle();
        self.end_if_flushed(ctx.address());
    }
}
