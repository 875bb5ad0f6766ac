//! Why a message waits. Each answer comes from the machine that decides: the queue, the memory budget, the throttle.

use super::SpoolActor;
use super::messages::{Explain, Idle, WaitIdle};
use crate::throttle::messages::Why;
use actix::{AsyncContext, Context, Handler, ResponseFuture};
use spool_core::{AddError, Hold, SpoolError};
use std::time::Duration;
use tokio::sync::oneshot;

impl Handler<Explain> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<Hold>, SpoolError>>;

    fn handle(&mut self, explain: Explain, ctx: &mut Context<Self>) -> Self::Result {
        if self.is_loading() && self.queue.status(explain.0, self.clock.now()).is_none() {
            return self.once_loaded(explain, ctx.address());
        }
        let held = self.readable().and_then(|()| {
            let held = self.queue.holds(explain.0, self.clock.now(), self.release_rate);
            held.ok_or(SpoolError::NoSuchMessage(explain.0))
        });
        let mut held = match held {
            Ok(held) => held,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        if let Err(AddError::Disk(error) | AddError::Ended(error)) = self.gate.admit(0) {
            held.holds.insert(0, Hold::Disk { error });
        }
        if let Some(error) = self.unwritten.error(explain.0) {
            let error = error.to_string();
            held.holds = vec![Hold::NoRoom { error }];
        }
        let Some(destination) = held.destination else {
            return Box::pin(std::future::ready(Ok(held.holds)));
        };
        if self.queue.is_starved(destination) {
            let (used, limit) = (self.budget.used(), self.budget.limit());
            held.holds.push(Hold::Memory { used, limit });
        }
        let asked = self
            .throttle
            .as_ref()
            .map(|throttle| throttle.send(Why { destination }));
        let supervision = self.supervision.clone();
        Box::pin(async move {
            let mut holds = held.holds;
            if let Some(asked) = asked {
                holds.extend(asked.await.map_err(|_| supervision.error())?);
            }
            Ok(holds)
        })
    }
}

impl Handler<WaitIdle> for SpoolActor {
    type Result = ResponseFuture<Result<Idle, SpoolError>>;

    fn handle(&mut self, _: WaitIdle, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (reply, idle) = oneshot::channel();
        self.idle.push(reply);
        // What has become due by now is not idle.
        self.after_anything(ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move { idle.await.map_err(|_| supervision.error()) })
    }
}

impl SpoolActor {
    /// Tells those who wait that there is nothing to do, if that is so.
    pub(super) fn answer_idle(&mut self) {
        if self.supervision.is_over() {
            // What could not be written is never done.
            self.idle.clear();
        }
        if self.idle.is_empty() || self.pending > 0 || self.loading > 0 || !self.bulks.is_empty() {
            return;
        }
        let now = self.clock.now();
        if self.unattended.is_busy() || self.queue.is_busy(now) {
            return;
        }
        let backlog = self
            .queue
            .has_backlog()
            .then(|| now.after(Duration::from_millis(100)));
        let times = [backlog, self.queue.next_due(), self.queue.next_opening()];
        let next_attempt = times.into_iter().flatten().min();
        for waiting in self.idle.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(Idle { next_attempt });
        }
    }
}
