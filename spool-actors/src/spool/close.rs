//! Counts, subscriptions, and the end.

use super::SpoolActor;
use super::disk::keep;
use super::messages::{Flushed, GetJobs, GetStats, Jobs, KillAndFlush, SpoolStats, Subscribe, WhenEnded};
use crate::engine::Input;
use crate::event_hub::messages::{Close, Enroll};
use crate::event_hub::{Follower, Subscription};
use crate::supervision::Ending;
use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, System};
use futures_util::FutureExt;
use spool_core::store::EventCursor;
use spool_core::{Hooks, SpoolError};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long the agent may take to close its idle sessions.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A kill under way, or over.
#[derive(Debug, Default)]
pub(super) struct Killing {
    replies: Vec<oneshot::Sender<Flushed>>,
    /// The directory is free, and no thread is left but this one.
    closed: bool,
}

impl Handler<GetJobs> for SpoolActor {
    type Result = Result<Jobs, SpoolError>;

    fn handle(&mut self, _: GetJobs, ctx: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        self.catch_up(ctx);
        Ok(Jobs {
            max: self.engine.max_jobs,
            running: self.engine.queue.counts.running,
            waiting: self.engine.queue.counts.waiting(),
        })
    }
}

impl Handler<GetStats> for SpoolActor {
    type Result = Result<SpoolStats, SpoolError>;

    fn handle(&mut self, _: GetStats, ctx: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        self.catch_up(ctx);
        let (keys, keys_given_up) = self.engine.keys.counts();
        Ok(SpoolStats {
            store: self.store.stats(),
            delivered: self.engine.delivered,
            notices: self.engine.returning.count,
            messages: self.engine.queue.len(),
            loading: self.is_loading().then(|| self.store.progress()),
            damaged: self.store.scrub_findings().len(),
            keys,
            keys_given_up,
        })
    }
}

impl Handler<Subscribe> for SpoolActor {
    type Result = ResponseFuture<Result<Subscription, SpoolError>>;

    fn handle(&mut self, subscribe: Subscribe, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        // What has happened until now is not told.
        self.catch_up(ctx);
        if let Some(since) = subscribe.since {
            let follower = Follower {
                store: Arc::downgrade(&self.store),
                cursor: EventCursor::new(since),
                page: VecDeque::new(),
                last: self.last_event.subscribe(),
                readers: Arc::clone(&self.log_readers),
                clock: Arc::clone(&self.clock),
                ping: self.ping,
            };
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
        self.kill(ctx, Some(reply));
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

impl SpoolActor {
    /// Closes the spool, and then answers `reply`.
    pub(super) fn kill(&mut self, ctx: &mut Context<Self>, reply: Option<oneshot::Sender<Flushed>>) {
        self.supervision.end(Ending::Killed);
        self.store.cancel_loading();
        let killing = self.killed.get_or_insert_default();
        killing.replies.extend(reply);
        if killing.closed {
            return self.answer_killers();
        }
        self.feed(Input::Close, ctx);
        self.turn(ctx);
    }

    fn answer_killers(&mut self) {
        let replies = self
            .killed
            .as_mut()
            .map(|killing| std::mem::take(&mut killing.replies));
        for reply in replies.unwrap_or_default() {
            // The caller may have stopped waiting.
            let _ = reply.send(Flushed::Finished);
        }
    }

    /// Whether nothing is left but to say so.
    pub(super) fn has_closed(&self) -> bool {
        self.killed.as_ref().is_some_and(|killing| killing.closed)
    }

    /// Once nothing looks at the files any more: keeps what was learned, has the agent close, and ends.
    pub(super) fn close_when_quiet(&mut self, ctx: &mut Context<Self>) {
        if self.upkeep > 0 || !std::mem::take(&mut self.closing) {
            return;
        }
        let now = self.now();
        let learned = self.ask_limits(now, move |limits| limits.learned(now));
        // Where a spool has failed, the path may lead to another one by now.
        let in_order = self.supervision.ending() == Some(Ending::Killed);
        let (agent, store) = (Arc::clone(&self.agent), Arc::clone(&self.store));
        let close = async move {
            // Nothing is lost with it.
            if let Ok(learned) = learned.await
                && in_order
            {
                let _ = tokio::task::spawn_blocking(move || keep(&store, &learned)).await;
            } else {
                drop(store);
            }
            // Callers that wait for the end get an answer even when the agent panics.
            let close = AssertUnwindSafe(async { agent.close().await }).catch_unwind();
            match tokio::time::timeout(CLOSE_TIMEOUT, close).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => tracing::error!("the delivery agent panicked while it closed"),
                Err(_) => tracing::warn!("idle sessions did not close in time"),
            }
        };
        ctx.spawn(wrap_future(close).map(|(), actor: &mut Self, ctx: &mut Context<Self>| actor.close(ctx)));
    }

    /// Lets go of everything: what is left is an address that answers why.
    fn close(&mut self, ctx: &mut Context<Self>) {
        // The writer first: when the reply arrives, the disk holds everything and the lock can be taken.
        drop(self.writer.take());
        self.store.close();
        self.workers.stop();
        self.for_hooks.stop();
        self.throttle = None;
        self.hub.do_send(Close);
        // Those who follow the log see its end.
        let last = *self.last_event.borrow();
        self.last_event = watch::Sender::new(last);
        self.hooks = Hooks::default();
        self.feed(Input::Closed, ctx);
        self.turn(ctx);
        if let Some(killing) = &mut self.killed {
            killing.closed = true;
        }
        self.answer_killers();
    }
}

impl Drop for SpoolActor {
    /// The spool's own threads end with it.
    fn drop(&mut self) {
        self.workers.stop();
        self.for_hooks.stop();
        if let Some(system) = System::try_current() {
            system.stop();
        }
    }
}
