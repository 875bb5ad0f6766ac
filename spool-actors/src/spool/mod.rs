//! SpoolActor: the queue's owner, and the address everything is asked of.
//!
//! It runs on one arbiter and never waits there: the disk is reached through the writer thread and the blocking pool,
//! the network through [`DeliveryActor`](crate::DeliveryActor)s. It replies, and tells of events, only after the disk
//! holds what it says.

mod add;
mod attempts;
mod commit;
mod content;
pub(crate) mod messages;
mod open;
mod operations;
mod pump;
mod queue;

pub use open::{OpenSpool, Spool};

use crate::event_hub::EventHub;
use crate::event_hub::messages::Publish;
use crate::gate::Gate;
use crate::throttle::Throttle;
use crate::workers::Workers;
use crate::writer::Writer;
use actix::{Actor, Addr, Context, SpawnHandle};
use commit::Tag;
use messages::Flushed;
use queue::Queue;
use spool_core::store::{Change, Store};
use spool_core::{
    Budget, Clock, DeliveryAgent, Dice, EnvelopeSummary, Event, EventKind, IdSource, Message, MessageId,
    Timestamp,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// The actor that owns a spool. See [`crate`] for the messages it takes.
pub struct SpoolActor {
    store: Arc<Store>,
    writer: Option<Writer<Tag>>,
    /// Changes handed to the writer and not yet answered.
    pending: usize,
    clock: Arc<dyn Clock>,
    dice: Arc<dyn Dice>,
    ids: IdSource,
    queue: Queue,
    budget: Budget,
    gate: Gate,
    throttle: Option<Addr<Throttle>>,
    hub: Addr<EventHub>,
    listening: Arc<AtomicUsize>,
    agent: Arc<dyn DeliveryAgent>,
    workers: Workers,
    max_jobs: usize,
    max_jobs_per_destination: usize,
    release_rate: u32,
    /// Messages that a former process was sending when it ended.
    interrupted: Vec<MessageId>,
    /// Loads from disk under way.
    loading: usize,
    wake: Option<(Timestamp, SpawnHandle)>,
    seq: u64,
    events: Vec<Event>,
    delivered: u64,
    killed: Option<Killing>,
}

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
}

impl Actor for SpoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The mailbox is no bound (it grows with each address); the memory budget is.
        ctx.set_mailbox_capacity(1024);
        self.start_throttle(ctx);
        self.settle_interrupted(ctx);
        self.pump(ctx);
    }

    /// Everything handed to the writer is on disk before the lock is let go.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.gate.close();
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

    /// Notes an event; [`SpoolActor::publish`] sends them on. With nobody listening only its number is taken.
    fn event(&mut self, kind: EventKind, message: &Message) {
        self.seq += 1;
        if self.listening.load(Ordering::Acquire) == 0 {
            return;
        }
        self.events.push(Event {
            seq: self.seq,
            at: self.clock.now(),
            id: Some(message.id),
            flows: message.flows.clone(),
            envelope: Some(Arc::new(EnvelopeSummary::of(message))),
            kind,
        });
    }

    fn publish(&mut self) {
        if !self.events.is_empty() {
            self.hub.do_send(Publish(std::mem::take(&mut self.events)));
        }
    }
}
