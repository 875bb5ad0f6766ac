//! Carries out what the engine wants done.

use super::disk::run;
use super::{Brought, Outside, SpoolActor};
use crate::delivery::DeliveryActor;
use crate::engine::{Answer, DiskJob, Done, Effect, Input, Now, Tag, ToCommit, Told, Wanted};
use crate::event_hub::messages::Publish;
use crate::throttle::Permit;
use crate::throttle::messages::{Said, Saying, Tell};
use crate::writer::Ticket;
use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler};
use spool_core::store::StoreError;
use spool_core::{Begin, Event, MessageId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is handed over at the end of a turn, all of it at once.
#[derive(Default)]
struct Batch {
    tickets: Vec<Ticket<Tag<Outside>>>,
    urgent: usize,
    deliveries: Vec<DeliveryActor>,
    told: Vec<Told>,
}

impl SpoolActor {
    pub(super) fn perform(&mut self, effects: Vec<Effect<Outside>>, now: Now, ctx: &mut Context<Self>) {
        let mut batch = Batch::default();
        for effect in effects {
            match effect {
                Effect::Commit(ToCommit { change, tag, urgent }) => {
                    batch.urgent += usize::from(urgent);
                    batch.tickets.push((change, tag));
                }
                Effect::Sign(commit) => self.sign(commit, ctx),
                Effect::Work(job) => self.work(job, ctx),
                Effect::WaitForMemory { bytes, wanted } => self.wait_for_memory(bytes, wanted, ctx),
                Effect::Start {
                    job,
                    permit,
                    recorded,
                } => batch
                    .deliveries
                    .push(self.delivery(job, permit, recorded, now, ctx)),
                Effect::Tell(told) => batch.told.push(told),
                Effect::Return(permit, signal) => {
                    batch.told.push(Told::Returned(permit.grant.id, signal));
                    permit.told_of_elsewhere();
                }
                Effect::AskPresend(message) => self.ask_presend(message, ctx.address()),
                Effect::AskOnError(asked) => self.ask_on_error(asked, ctx.address()),
                Effect::Publish(events) => self.publish(events),
                // The caller may have stopped waiting for it.
                Effect::Answer(reply, answer) => drop(reply.send(answer)),
                Effect::Loaded(loaded) => self.tell_loaded(loaded),
                Effect::Wake(at) => self.set_wake(at, now, ctx),
                Effect::Close => {
                    self.closing = true;
                    self.close_when_quiet(ctx);
                }
            }
        }
        if let Some(throttle) = self.throttle.as_ref().filter(|_| !batch.told.is_empty()) {
            throttle.do_send(Tell(std::mem::take(&mut batch.told), now));
        }
        self.hand_over(batch, ctx);
    }

    fn hand_over(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        match &self.writer {
            _ if batch.tickets.is_empty() => {}
            Some(writer) => writer.push(batch.tickets, batch.urgent),
            None => self.cannot_write(batch.tickets, ctx),
        }
        if batch.deliveries.is_empty() {
            return;
        }
        // When its thread has ended, the dropped actors report failed attempts.
        let deliveries = self.workers.deal(batch.deliveries);
        for (arbiter, deliveries) in deliveries {
            arbiter.spawn_fn(move || {
                for delivery in deliveries {
                    drop(delivery.start());
                }
            });
        }
    }

    /// Fails all changes of a batch, because the spool is closed.
    fn cannot_write(&mut self, tickets: Vec<Ticket<Tag<Outside>>>, ctx: &mut Context<Self>) {
        let answered = |(change, tag)| crate::engine::Answered {
            change,
            tag,
            result: Err(StoreError::Failed("the spool was closed".to_owned())),
        };
        let answers = tickets.into_iter().map(answered).collect();
        self.feed(Input::Committed(answers), ctx);
    }

    fn delivery(
        &self,
        mut job: spool_core::Job,
        permit: Permit,
        recorded: bool,
        now: Now,
        ctx: &Context<Self>,
    ) -> DeliveryActor {
        job.halt = self.supervision.halt.clone();
        job.path = Arc::clone(&permit.grant.path);
        if !recorded {
            job.begin = asking(job.message, ctx.address());
        }
        DeliveryActor::new(Arc::clone(&self.agent), job, permit, ctx.address(), now.wall)
    }

    /// Runs a job on the blocking pool. Its task holds an address: the spool stays until it is done.
    fn work(&self, job: DiskJob<Outside>, ctx: &Context<Self>) {
        let (budget, own) = (self.budget.clone(), ctx.address());
        let work = self.blocking(move |store| run(store, &budget, job));
        actix::spawn(async move {
            let done = work.await.unwrap_or(Done::Lost);
            own.do_send(Brought(Input::Done(done)));
        });
    }

    fn wait_for_memory(&self, bytes: u64, wanted: Wanted, ctx: &mut Context<Self>) {
        let wait = wrap_future(self.budget.wait(bytes));
        ctx.spawn(wait.map(move |held, actor: &mut Self, ctx: &mut Context<Self>| {
            actor.feed(Input::Memory(wanted, held), ctx);
        }));
    }

    fn publish(&mut self, events: Vec<Event>) {
        let Some(last) = events.last().map(|event| event.seq) else {
            return;
        };
        // Those who follow the log look there.
        self.last_event
            .send_if_modified(|seq| std::mem::replace(seq, last) != last);
        if self.listening.load(Ordering::Acquire) > 0 {
            self.hub.do_send(Publish(events));
        }
    }

    fn set_wake(&mut self, at: Timestamp, now: Now, ctx: &mut Context<Self>) {
        if let Some(handle) = self.wake.take() {
            ctx.cancel_future(handle);
        }
        let woken = |actor: &mut Self, ctx: &mut Context<Self>| {
            actor.wake = None;
            actor.feed(Input::Woken, ctx);
        };
        let handle = match self.clock.alarm(now.wall_of(at)) {
            Some(alarm) => {
                ctx.spawn(wrap_future(alarm).map(move |(), actor: &mut Self, ctx| woken(actor, ctx)))
            }
            None => ctx.run_later(at.since(now.inside).max(Duration::from_millis(1)), woken),
        };
        self.wake = Some(handle);
    }
}

/// Asks `spool` whether the attempt at `message` may start, when it is polled.
fn asking(message: MessageId, spool: Addr<SpoolActor>) -> Begin {
    Begin::asking(async move {
        let (reply, may) = oneshot::channel();
        spool.do_send(Brought(Input::MayBegin(message, reply)));
        matches!(may.await, Ok(Answer::Begun(true)))
    })
}

impl Handler<Said> for SpoolActor {
    type Result = ();

    fn handle(&mut self, Said(said): Said, ctx: &mut Context<Self>) {
        for saying in said {
            let input = match saying {
                Saying::Granted(destination, permit) => Input::Granted(destination, permit),
                Saying::News(news) => Input::News(news),
            };
            self.feed(input, ctx);
        }
    }
}
