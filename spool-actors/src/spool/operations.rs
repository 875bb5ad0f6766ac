//! Counts, jobs, subscriptions, and the end.

use super::commit::Tag;
use super::keys::Keys;
use super::messages::{
    Flushed, GetJobs, GetStats, Jobs, KillAndFlush, SetMaxConcurrentJobs, SpoolStats, Subscribe, WhenEnded,
};
use super::queue::{Queue, Ways};
use super::unwritten::Unwritten;
use super::{Killing, SpoolActor, Stage};
use crate::event_hub::messages::{Close, Enroll};
use crate::event_hub::{Follower, Subscription};
use crate::supervision::Ending;
use crate::throttle::messages::SetMax;
use actix::{Addr, AsyncContext, Context, Handler, ResponseFuture, System};
use spool_core::store::Change;
use spool_core::{Hooks, Policies, Routing, SpoolError, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long the agent may take to close its idle sessions.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl SpoolActor {
    /// Whether something can be changed: not once the spool has ended.
    pub(super) fn alive(&self) -> Result<(), SpoolError> {
        if self.supervision.is_over() {
            Err(self.supervision.error())
        } else {
            Ok(())
        }
    }

    /// Whether someone may look: until it is closed. What is on a failed disk can still be read.
    pub(super) fn readable(&self) -> Result<(), SpoolError> {
        if self.killed.is_some() || self.supervision.ending() == Some(Ending::Killed) {
            Err(self.supervision.error())
        } else {
            Ok(())
        }
    }

    /// The spool has ended: whoever waits for something that will not come is told why.
    pub(super) fn has_ended(&mut self) {
        // Their askers find no answer, and read the ending.
        self.bulks.cancel();
        if self.supervision.ending() != Some(Ending::Killed) {
            // What answers an add of the same name may have been lost with the part that failed.
            self.keys.stop_waiting();
        }
        self.idle.clear();
    }
}

impl Handler<SetMaxConcurrentJobs> for SpoolActor {
    type Result = Result<(), SpoolError>;

    fn handle(&mut self, set: SetMaxConcurrentJobs, ctx: &mut Context<Self>) -> Self::Result {
        self.alive()?;
        tracing::debug!(max = set.0, "maximum of concurrent jobs set");
        self.max_jobs = set.0;
        self.epoch += 1;
        self.queue.pause(set.0 == 0);
        if let Some(throttle) = &self.throttle {
            throttle.do_send(SetMax(set.0));
        }
        self.after_anything(ctx);
        Ok(())
    }
}

impl Handler<GetJobs> for SpoolActor {
    type Result = Result<Jobs, SpoolError>;

    fn handle(&mut self, _: GetJobs, _: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        Ok(Jobs {
            max: self.max_jobs,
            running: self.queue.running(),
            waiting: self.queue.waiting(),
        })
    }
}

impl Handler<GetStats> for SpoolActor {
    type Result = Result<SpoolStats, SpoolError>;

    fn handle(&mut self, _: GetStats, _: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        let (keys, keys_given_up) = self.keys.counts();
        Ok(SpoolStats {
            store: self.store.stats(),
            delivered: self.delivered,
            notices: self.returning.count,
            messages: self.queue.len(),
            loading: self.is_loading().then(|| self.store.progress()),
            damaged: self.store.scrub_findings().len(),
            keys,
            keys_given_up,
        })
    }
}

impl Handler<Subscribe> for SpoolActor {
    type Result = ResponseFuture<Result<Subscription, SpoolError>>;

    fn handle(&mut self, subscribe: Subscribe, _: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Some(since) = subscribe.since {
            let (store, last) = (Arc::downgrade(&self.store), self.last_event.subscribe());
            let follower = Follower::new(store, since, last, Arc::clone(&self.clock), self.ping);
            return Box::pin(std::future::ready(Ok(Subscription::following(follower))));
        }
        let (reply, subscription) = oneshot::channel();
        self.hub.do_send(Enroll { reply });
        let supervision = self.supervision.clone();
        Box::pin(async move { subscription.await.map_err(|_| supervision.error()) })
    }
}

impl Handler<WhenEnded> for SpoolActor {
    type Result = ResponseFuture<Ending>;

    fn handle(&mut self, _: WhenEnded, _: &mut Context<Self>) -> Self::Result {
        Box::pin(self.supervision.ended())
    }
}

impl Handler<KillAndFlush> for SpoolActor {
    type Result = ResponseFuture<Flushed>;

    fn handle(&mut self, kill: KillAndFlush, ctx: &mut Context<Self>) -> Self::Result {
        let (reply, flushed) = oneshot::channel();
        self.kill(ctx.address(), Some(reply));
        Box::pin(async move {
            let flushed = async { flushed.await.unwrap_or(Flushed::Finished) };
            match kill.timeout {
                None => flushed.await,
                Some(timeout) => tokio::time::timeout(timeout, flushed)
                    .await
                    .unwrap_or(Flushed::Timeout),
            }
        })
    }
}

/// The last step of a kill, once the agent has closed.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct End;

impl Handler<End> for SpoolActor {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Context<Self>) {
        self.close();
    }
}

impl SpoolActor {
    /// Closes the gate; `reply` is told when all is done.
    pub(super) fn kill(&mut self, own: Addr<Self>, reply: Option<oneshot::Sender<Flushed>>) {
        self.supervision.end(Ending::Killed);
        self.store.cancel_loading();
        self.has_ended();
        let killing = self.killed.get_or_insert_with(|| Killing {
            replies: Vec::new(),
            stage: Stage::Draining,
        });
        killing.replies.extend(reply);
        if killing.stage == Stage::Closed {
            return self.answer_killers();
        }
        self.end_if_flushed(own);
    }

    fn answer_killers(&mut self) {
        let replies = self
            .killed
            .as_mut()
            .map(|killing| std::mem::take(&mut killing.replies));
        for reply in replies.unwrap_or_default() {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(Flushed::Finished);
        }
    }

    /// Whether nothing is left but to say so.
    pub(super) fn has_closed(&self) -> bool {
        self.killed
            .as_ref()
            .is_some_and(|killing| killing.stage == Stage::Closed)
    }

    /// Lets go of everything: what is left is an address that answers why.
    fn close(&mut self) {
        // The writer first: when the reply arrives, the disk holds everything and the lock can be taken.
        drop(self.writer.take());
        self.store.close();
        self.workers.stop();
        self.throttle = None;
        self.hub.do_send(Close);
        // Those who follow the log see its end.
        self.last_event = watch::Sender::new(self.last_seq);
        self.queue = Queue::new(Ways::new(1, Policies::default(), Vec::new()), Routing::default());
        self.keys = Keys::new(Vec::new(), Duration::ZERO, 1);
        self.unwritten = Unwritten::default();
        self.hooks = Hooks::default();
        if let Some(killing) = &mut self.killed {
            killing.stage = Stage::Closed;
        }
        self.answer_killers();
    }

    /// With a kill under way and nothing running: puts back what was about to start, waits for the disk, and ends.
    pub(super) fn end_if_flushed(&mut self, own: Addr<Self>) {
        let Some(killing) = &mut self.killed else { return };
        if self.queue.running() > 0 || self.loading > 0 || self.pending > 0 {
            return;
        }
        if killing.stage == Stage::Draining {
            killing.stage = Stage::Disarming;
            self.write_again();
            self.disarm();
            return self.end_if_flushed(own);
        }
        if matches!(killing.stage, Stage::Closing | Stage::Closed) {
            return;
        }
        killing.stage = Stage::Closing;
        let agent = Arc::clone(&self.agent);
        let kept = self.keep_at_the_end();
        actix::spawn(async move {
            kept.await;
            if tokio::time::timeout(CLOSE_TIMEOUT, agent.close()).await.is_err() {
                tracing::warn!("idle sessions did not close in time");
            }
            own.do_send(End);
        });
    }

    /// What was about to start did not: after the next start it is not in doubt.
    fn disarm(&mut self) {
        for (id, due) in self.queue.disarm_all() {
            let change = Change::Mark {
                id,
                status: Status::SendAt(due),
                frozen: None,
                in_flight: None,
                events: Vec::new(),
            };
            self.commit(change, Tag::Disarmed, true);
        }
    }
}

impl Drop for SpoolActor {
    /// The spool's own threads end with it.
    fn drop(&mut self) {
        self.workers.stop();
        if let Some(system) = System::try_current() {
            system.stop();
        }
    }
}
