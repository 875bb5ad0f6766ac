//! Carries out what the engine wants done.

use super::disk::run;
use super::{Brought, Outside, Reply, SpoolActor};
use crate::delivery::DeliveryActor;
use crate::delivery::messages::AttemptEnded;
use crate::engine::{Answer, Done, Effect, Input, Job, Now, Tag, Wanted};
use crate::event_hub::messages::Publish;
use crate::supervision::{Ending, Part};
use crate::throttle::Permit;
use crate::throttle::messages::{Contended, Demand, Granted};
use crate::writer::Ticket;
use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler};
use spool_core::store::StoreError;
use spool_core::{Event, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is handed over at the end of a turn, all of it at once.
#[derive(Default)]
struct Batch {
    tickets: Vec<Ticket<Tag<Outside>>>,
    urgent: usize,
    deliveries: Vec<DeliveryActor>,
}

impl SpoolActor {
    pub(super) fn perform(&mut self, effects: Vec<Effect<Outside>>, now: Now, ctx: &mut Context<Self>) {
        let mut batch = Batch::default();
        for effect in effects {
            match effect {
                Effect::Commit { change, tag, urgent } => {
                    batch.urgent += usize::from(urgent);
                    batch.tickets.push(Ticket { change, tag });
                }
                Effect::Sign { change, tag, urgent } => self.sign(change, tag, urgent, ctx),
                Effect::Work(job) => self.work(job, ctx),
                Effect::WaitForMemory { bytes, wanted } => self.wait_for_memory(bytes, wanted, ctx),
                Effect::Start { job, permit } => batch.deliveries.push(self.delivery(job, permit, now, ctx)),
                Effect::Ask { destination, more } => {
                    if let Some(throttle) = &self.throttle {
                        throttle.do_send(Demand { destination, more });
                    }
                }
                Effect::Return(permit) => drop(permit),
                Effect::AskPresend(message) => self.ask_presend(message, ctx.address()),
                Effect::AskOnError {
                    message,
                    body,
                    attempt,
                } => self.ask_on_error(message, body, attempt, ctx.address()),
                Effect::Publish(events) => self.publish(events),
                Effect::Answer(reply, answer) => reply.send(answer),
                Effect::Loaded(loaded) => self.tell_loaded(loaded),
                Effect::Wake(at) => self.set_wake(at, now, ctx),
                Effect::Close(learned) => {
                    self.closing = Some(learned);
                    self.close_when_quiet(ctx);
                }
            }
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

    /// Nothing is written once the spool is closed: whoever waits for it is told so.
    fn cannot_write(&mut self, tickets: Vec<Ticket<Tag<Outside>>>, ctx: &mut Context<Self>) {
        let answered = |Ticket { change, tag }| crate::engine::Answered {
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
        now: Now,
        ctx: &Context<Self>,
    ) -> DeliveryActor {
        job.halt = self.supervision.halt();
        DeliveryActor::new(Arc::clone(&self.agent), job, permit, ctx.address(), now.wall)
    }

    /// Runs a job on the blocking pool. Its task holds an address: the spool stays until it is done.
    fn work(&self, job: Job<Outside>, ctx: &Context<Self>) {
        let (store, budget, supervision) = (
            Arc::clone(&self.store),
            self.budget.clone(),
            self.supervision.clone(),
        );
        let own = ctx.address();
        let work = tokio::task::spawn_blocking({
            let supervision = supervision.clone();
            move || {
                supervision.failpoint(Part::BlockingJob);
                run(&store, &budget, job)
            }
        });
        actix::spawn(async move {
            let done = work.await.unwrap_or_else(|_| {
                supervision.end(Ending::Panicked(Part::BlockingJob));
                Done::Lost
            });
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
        self.last_seq = last;
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

impl Reply {
    /// Whoever asked may have stopped waiting.
    fn send(self, answer: Answer) {
        match (self, answer) {
            (Self::Added(reply), Answer::Added(added)) => drop(reply.send(added)),
            (Self::Operated(reply), Answer::Operated(outcome)) => drop(reply.send(outcome)),
            (Self::Idle(reply), Answer::Idle(idle)) => drop(reply.send(idle)),
            // The engine answers each question in its own kind; to another one there would be no answer.
            (Self::Added(_) | Self::Operated(_) | Self::Idle(_), _) => debug_assert!(false, "another kind"),
        }
    }
}

impl Handler<Granted> for SpoolActor {
    type Result = ();

    fn handle(&mut self, granted: Granted, ctx: &mut Context<Self>) {
        let Granted { destination, permit } = granted;
        if permit.epoch() == self.epoch {
            return self.feed(Input::Granted(destination, permit), ctx);
        }
        // Granted before the maximum was set, on its way since: a session that starts now counts against the new one.
        if let Some(throttle) = &self.throttle {
            throttle.do_send(Demand { destination, more: 1 });
        }
    }
}

impl Handler<Contended> for SpoolActor {
    type Result = ();

    fn handle(&mut self, Contended(contended): Contended, ctx: &mut Context<Self>) {
        self.feed(Input::Contended(contended), ctx);
    }
}

impl Handler<AttemptEnded> for SpoolActor {
    type Result = ();

    fn handle(&mut self, ended: AttemptEnded, ctx: &mut Context<Self>) {
        let AttemptEnded { id, attempt, permit } = ended;
        // One of another maximum does not count against that of now.
        let permit = permit.filter(|permit| permit.epoch() == self.epoch);
        self.feed(Input::AttemptEnded { id, attempt, permit }, ctx);
    }
}
