//! What makes the spool go: after anything happened, due messages are lined up, the decks filled, the throttle told,
//! and the next wake-up set.

use super::SpoolActor;
use super::commit::Tag;
use super::content::Content;
use crate::delivery::DeliveryActor;
use crate::throttle::messages::{Demand, Granted};
use crate::throttle::{DestinationId, Throttle};
use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler};
use spool_core::store::{Change, StoreError};
use spool_core::{Event, EventKind, Held, Job, MessageId, NextHop, Status, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The longest sleep: a wall clock that was set, or a last handle that was dropped, is noticed after it.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// How often the backlog of a start is released.
const RELEASE_TICK: Duration = Duration::from_millis(100);

impl SpoolActor {
    pub(super) fn start_throttle(&mut self, ctx: &mut Context<Self>) {
        let granted = ctx.address().downgrade().recipient::<Granted>();
        self.throttle = Some(Throttle::start(&self.supervision, self.max_jobs, granted));
    }

    /// Has the agent tell of connections for attempts that were not begun for want of one.
    pub(super) fn listen_for_room(&self, ctx: &Context<Self>) {
        // Weak: the agent outlives the spool.
        let own = ctx.address().downgrade();
        self.agent.on_room(Arc::new(move |host| {
            let spool = own.upgrade().filter(Addr::connected);
            spool
                .inspect(|spool| spool.do_send(RoomAt(host.clone())))
                .is_some()
        }));
    }

    /// Called after anything happened.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.supervision.is_over() {
            return;
        }
        let now = self.now();
        self.queue.release_due(now, 0);
        self.queue.open_due(now);
        self.fill_decks(ctx);
        // A message whose route has changed stands in another line now, and whoever waited for it may go on.
        while self.queue.has_dirty() || !self.unparked.is_empty() {
            self.go_on(ctx);
            self.fill_decks(ctx);
        }
        self.set_wake(ctx);
    }

    fn fill_decks(&mut self, ctx: &mut Context<Self>) {
        let mut to_load = Vec::new();
        let now = self.clock.now();
        let dirty = self.queue.take_dirty();
        for destination in &dirty {
            self.recall(*destination, now);
            self.fill_deck(*destination, &mut to_load, ctx);
        }
        for destination in dirty {
            let more = self.queue.take_promises(destination, now);
            self.queue.schedule(destination, now);
            if more > 0
                && let Some(throttle) = &self.throttle
            {
                throttle.do_send(Demand { destination, more });
            }
        }
        if !to_load.is_empty() {
            self.load(to_load, ctx);
        }
    }

    /// Lines up what its destination has room for. Where there is no memory for the first in line, it waits for that: nothing
    /// overtakes it, neither in its line nor in the ledger.
    fn fill_deck(
        &mut self,
        destination: DestinationId,
        to_load: &mut Vec<(MessageId, Held)>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.clock.now();
        while !self.queue.is_starved(destination)
            && let Some(next) = self.queue.next_to_arm(destination, now)
        {
            if next.has_content {
                self.about_to_try(next.id, ctx);
            } else if let Some(held) = self.budget.read_now(next.footprint) {
                to_load.push((next.id, held));
            } else {
                self.queue.put_back(next.id);
                self.wait_for_memory(destination, next.footprint, ctx);
            }
        }
    }

    fn wait_for_memory(&mut self, destination: DestinationId, bytes: u64, ctx: &mut Context<Self>) {
        self.queue.starve(destination);
        // What can be read again makes room for what must be sent now.
        self.queue.let_go_of_all();
        let wait = self.budget.wait(bytes);
        ctx.spawn(
            wrap_future(wait).map(move |held, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.guarded(ctx, |actor, ctx| actor.fed(destination, held, ctx));
            }),
        );
    }

    /// There is memory for the first in this line; by now that may be another message.
    fn fed(&mut self, destination: DestinationId, mut held: Held, ctx: &mut Context<Self>) {
        self.queue.feed(destination);
        let now = self.now();
        if !self.supervision.is_over()
            && let Some(next) = self.queue.next_to_arm(destination, now)
        {
            if next.has_content {
                self.about_to_try(next.id, ctx);
            } else if next.footprint <= held.bytes() {
                held.resize(next.footprint);
                self.load(vec![(next.id, held)], ctx);
            } else {
                self.queue.put_back(next.id);
            }
        }
        self.after_anything(ctx);
    }

    fn load(&mut self, wanted: Vec<(MessageId, Held)>, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let load = move || -> Vec<_> {
            wanted
                .into_iter()
                .map(|(id, held)| (id, Content::read(&store, id, held)))
                .collect()
        };
        self.off_thread(ctx, load, |actor, loaded, ctx| {
            for (id, content) in loaded {
                match content {
                    Ok(content) => {
                        actor.queue.keep(content);
                        actor.about_to_try(id, ctx);
                    }
                    Err(error) => actor.unreadable(id, &error),
                }
            }
        });
    }

    /// The hook is asked first, if there is one.
    fn about_to_try(&mut self, id: MessageId, ctx: &mut Context<Self>) {
        if !self.is_routed(id) {
            return;
        }
        if !self.hooks.has_presend() {
            return self.write_begin(id, Vec::new());
        }
        if let Some(message) = self
            .queue
            .content(id)
            .map(|content| Arc::new(content.message.clone()))
        {
            self.ask_presend(message, ctx.address());
        }
    }

    /// Durable before the session starts: after a crash it is known that the next hop may hold the message.
    pub(super) fn write_begin(&mut self, id: MessageId, events: Vec<Event>) {
        // The routes may have changed while the hook was asked.
        if !self.is_routed(id) {
            return;
        }
        self.queue.arming(id);
        let Some((next_hops, origin)) = self.queue.take_unwritten_route(id) else {
            return self.begin(id, events);
        };
        // On disk before the begin: after a crash it is known where the attempt went. The disk may have room for a begin and none
        // for a route.
        let change = Change::Route {
            id,
            origin,
            events: self.route_news(id, &next_hops),
            next_hops,
        };
        self.commit(change, Tag::Routed { events }, true);
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

    /// Writes the begin of an attempt whose next hops are on disk.
    pub(super) fn begin(&mut self, id: MessageId, events: Vec<Event>) {
        let now = self.now();
        let change = Change::Mark {
            id,
            status: Status::SendAt(now),
            frozen: None,
            in_flight: Some(now),
            events,
        };
        self.commit(change, Tag::Armed, true);
    }

    /// What cannot be read cannot be sent; it stays where it is, and stays visible. Descriptors and memory come back.
    pub(super) fn unreadable(&mut self, id: MessageId, error: &StoreError) {
        if matches!(error, StoreError::NotNow { .. }) {
            return self.begin_later(id, error);
        }
        tracing::error!(%id, %error, "cannot read a message; it is kept frozen");
        self.queue.waits(id, Status::Frozen);
        self.unparked.push(id);
    }

    fn set_wake(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let next = self
            .queue
            .next_due()
            .into_iter()
            .chain(self.queue.next_opening())
            .fold(now.after(MAX_SLEEP), Timestamp::min);
        let next = if self.queue.has_backlog() {
            next.min(now.after(RELEASE_TICK))
        } else {
            next
        };
        match &self.wake {
            // An earlier wake-up than needed does no harm; resetting the timer for every message would.
            Some((at, _)) if *at <= next && *at > now => {}
            Some(_) | None => {
                if let Some((_, handle)) = self.wake.take() {
                    ctx.cancel_future(handle);
                }
                let handle = match self.clock.alarm(next) {
                    Some(alarm) => {
                        ctx.spawn(wrap_future(alarm).map(|(), actor: &mut Self, ctx| actor.woken(ctx)))
                    }
                    None => ctx.run_later(next.since(now).max(Duration::from_millis(1)), Self::woken),
                };
                self.wake = Some((next, handle));
            }
        }
    }

    /// Running attempts hold addresses: without any, nothing runs and nobody can ask for anything.
    pub(super) fn end_unless_wanted(&mut self, ctx: &mut Context<Self>) {
        if ctx.connected() {
            return;
        }
        if self.has_closed() {
            ctx.stop();
        } else {
            self.kill(ctx.address(), None);
        }
    }

    fn woken(&mut self, ctx: &mut Context<Self>) {
        self.guarded(ctx, Self::release_and_go_on);
    }

    fn release_and_go_on(&mut self, ctx: &mut Context<Self>) {
        self.wake = None;
        let share = f64::from(self.release_rate) * RELEASE_TICK.as_secs_f64();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive u32 over ten"
        )]
        let release = share.ceil() as usize;
        if !self.supervision.is_over() {
            let now = self.now();
            self.queue.release_due(now, release.max(1));
        }
        self.after_anything(ctx);
    }
}

/// A connection to this host may be had.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(super) struct RoomAt(NextHop);

impl Handler<RoomAt> for SpoolActor {
    type Result = ();

    fn handle(&mut self, RoomAt(host): RoomAt, ctx: &mut Context<Self>) {
        let now = self.now();
        self.queue.room_at(&host, now);
        self.pump(ctx);
    }
}

impl Handler<Granted> for SpoolActor {
    type Result = ();

    /// Starts one session, or lets the permit go when nothing waits any more.
    fn handle(&mut self, granted: Granted, ctx: &mut Context<Self>) {
        // After a kill its permit goes back; what was armed is written back as waiting.
        if self.supervision.is_over() {
            return;
        }
        if granted.permit.epoch() != self.epoch {
            // Granted before the maximum was set, on its way since: a session that starts now counts against the new one.
            if let Some(throttle) = &self.throttle {
                throttle.do_send(Demand {
                    destination: granted.destination,
                    more: 1,
                });
            }
            return;
        }
        let now = self.now();
        if let Some(content) = self.queue.start(granted.destination, now) {
            let message = &content.message;
            let job = Job {
                message: message.id,
                flows: message.flows.clone(),
                next_hops: Arc::clone(&message.next_hops),
                envelope: Arc::clone(&message.envelope),
                recipients: message.state.remaining.clone(),
                body: content.body.clone(),
                halt: self.supervision.halt(),
            };
            let delivery =
                DeliveryActor::new(Arc::clone(&self.agent), job, granted.permit, ctx.address(), now);
            match self.workers.next() {
                // When its thread has ended, the dropped actor reports a failed attempt.
                Some(arbiter) => drop(DeliveryActor::start_in_arbiter(arbiter, |_| delivery)),
                None => drop(delivery),
            }
        }
        self.pump(ctx);
    }
}
