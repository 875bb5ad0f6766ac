//! SpoolActor: the address everything is asked of, and the shell of the [`Engine`].
//!
//! It decides nothing. It collects what has happened until the mailbox is empty, gives it to the engine in one turn, and carries out what
//! the engine wants done: changes go to the writer thread in one push, work on the disk to the blocking pool, sessions to
//! [`DeliveryActor`](crate::DeliveryActor)s on the worker threads. It runs on one arbiter and never waits there.

pub(crate) mod add;
mod ask;
mod blocking;
mod clean;
mod close;
mod destinations;
mod disk;
mod explain;
mod hooks;
mod listing;
mod loading;
pub(crate) mod messages;
mod open;
mod operate;
mod parts;
mod perform;
mod pulse;
mod settings;
mod signed;

pub use destinations::{Destinations, ResetDestination};
#[cfg(test)]
pub(crate) use loading::start as start_loader;
pub use open::{OpenSpool, Spool};
pub use operate::{Bounce, Expire};
pub use pulse::{GetPulse, Progress, Pulse};
pub use settings::{SetNotices, SetPolicies, SetRouting};

use crate::engine::{Answer, Engine, Input, InsideClock, Now, PermitId, Tag, World};
use crate::event_hub::EventHub;
use crate::gate::Gate;
use crate::supervision::{Ending, Part, Supervision};
use crate::throttle::{Permit, Throttle};
use crate::workers::Workers;
use crate::writer::Writer;
use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture,
    SpawnHandle,
};
use close::Killing;
use loading::LoadState;
use spool_core::store::Store;
use spool_core::{Budget, Clock, DeliveryAgent, Hooks, Signer, SpoolError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};

/// What the engine passes on in a running spool.
#[derive(Debug, Default)]
pub(crate) struct Outside;

impl World for Outside {
    type Reply = oneshot::Sender<Answer>;
    type Permit = Permit;

    fn name(permit: &Permit) -> PermitId {
        permit.grant.id
    }

    fn epoch(permit: &Permit) -> u64 {
        permit.grant.epoch
    }
}

/// The response to a message that only reads.
type Looked<T> = ResponseFuture<Result<T, SpoolError>>;

/// The actor that owns a spool. See [`crate`] for the messages it takes.
pub struct SpoolActor {
    engine: Engine<Outside>,
    /// What has happened since the last turn.
    inbox: VecDeque<Input<Outside>>,
    /// Whether a turn follows once the mailbox is empty.
    turn_due: bool,
    store: Arc<Store>,
    writer: Option<Writer<Tag<Outside>>>,
    /// Batches of changes that the writer has answered.
    commits: u64,
    clock: Arc<dyn Clock>,
    inside: InsideClock,
    hooks: Hooks,
    signer: Option<Arc<dyn Signer>>,
    budget: Budget,
    gate: Gate,
    supervision: Supervision,
    throttle: Option<Addr<Throttle>>,
    hub: Addr<EventHub>,
    listening: Arc<AtomicUsize>,
    agent: Arc<dyn DeliveryAgent>,
    workers: Workers,
    /// Where hooks are asked.
    for_hooks: Workers,
    /// Whether what was there at the start has come.
    loaded: LoadState,
    scrub_rate: u64,
    cleaning: bool,
    /// What was learned of destinations is being written.
    keeping: bool,
    /// The files are being checked.
    watching: bool,
    /// How much is done on the disk that the engine does not know of.
    upkeep: usize,
    /// The alarm for the next turn.
    wake: Option<SpawnHandle>,
    last_event: watch::Sender<u64>,
    /// For those who follow the event log.
    log_readers: Arc<Semaphore>,
    ping: Duration,
    killed: Option<Killing>,
    /// The engine has come to its end, while something else still works on the disk.
    closing: bool,
}

/// How soon it is noticed that the last address is gone, or that a full disk has room again.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether the files are still there.
const WATCH: Duration = Duration::from_millis(500);
/// How often what was learned of destinations is written.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// Something for the engine.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Brought(pub(crate) Input<Outside>);

/// The mailbox is empty: the engine takes its turn.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Turn;

impl Actor for SpoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The mailbox is no bound (it grows with each address); the memory budget is.
        ctx.set_mailbox_capacity(1024);
        ctx.run_interval(TICK, |actor, ctx| {
            actor.feed(Input::Tick, ctx);
            actor.clean(ctx);
            actor.end_unless_wanted(ctx);
        });
        ctx.run_interval(WATCH, |actor, ctx| actor.watch_files(ctx));
        ctx.run_interval(KEEP_EVERY, |actor, ctx| actor.keep_learned(ctx));
        let ended = wrap_future(self.supervision.ended());
        ctx.spawn(ended.map(|_, actor: &mut Self, ctx: &mut Context<Self>| actor.turn(ctx)));
        self.turn(ctx);
    }

    /// Everything handed to the writer is on disk before the lock is released.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.supervision.end(Ending::Killed);
        drop(self.writer.take());
    }
}

impl SpoolActor {
    /// Notes that something has happened. The engine takes its turn once the mailbox is empty.
    fn feed(&mut self, input: Input<Outside>, ctx: &mut Context<Self>) {
        self.commits += u64::from(matches!(input, Input::Committed(_)));
        self.inbox.push_back(input);
        if !std::mem::replace(&mut self.turn_due, true) {
            ctx.notify(Turn);
        }
    }

    /// Runs one turn of the engine with all pending inputs, and carries out its effects. A panic ends the spool.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.turn_due = false;
        let turn = AssertUnwindSafe(|| {
            self.supervision.failpoint(Part::Spool);
            let now = self.now();
            let ended = self
                .supervision
                .is_over()
                .then(|| self.supervision.ending())
                .flatten();
            let effects = self.engine.turn(now, ended, &mut self.inbox);
            self.perform(effects, now, ctx);
        });
        if catch_unwind(turn).is_err() {
            self.supervision.end(Ending::Panicked(Part::Spool));
        }
    }

    /// Before someone looks: what has happened so far is taken in.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        if !self.inbox.is_empty() {
            self.turn(ctx);
        }
    }

    /// The time by both clocks. Logs when the wall clock was set.
    fn now(&mut self) -> Now {
        let (wall, steady) = self.clock.now_and_steady();
        let now = self.inside.now(wall, steady);
        if let Some(millis) = self.inside.set_by {
            tracing::warn!(
                seconds = millis / 1000,
                "the wall clock was set; what waits is not moved by it"
            );
        }
        now
    }

    /// Whether something can be changed: not once the spool has ended.
    fn alive(&self) -> Result<(), SpoolError> {
        match self.supervision.is_over() {
            true => Err(self.supervision.error()),
            false => Ok(()),
        }
    }

    /// Whether someone may look: until it is closed. What is on a failed disk can still be read.
    fn readable(&self) -> Result<(), SpoolError> {
        match self.killed.is_some() || self.supervision.ending() == Some(Ending::Killed) {
            true => Err(self.supervision.error()),
            false => Ok(()),
        }
    }

    /// Running attempts hold addresses: without any, nothing runs and nobody can ask for anything.
    fn end_unless_wanted(&mut self, ctx: &mut Context<Self>) {
        if ctx.connected() {
            return;
        }
        if self.has_closed() {
            ctx.stop();
        } else {
            self.kill(ctx, None);
        }
    }
}

impl Handler<Turn> for SpoolActor {
    type Result = ();

    fn handle(&mut self, _: Turn, ctx: &mut Context<Self>) {
        if self.turn_due {
            self.turn(ctx);
        }
    }
}

impl Handler<Brought> for SpoolActor {
    type Result = ();

    fn handle(&mut self, Brought(input): Brought, ctx: &mut Context<Self>) {
        self.feed(input, ctx);
    }
}
