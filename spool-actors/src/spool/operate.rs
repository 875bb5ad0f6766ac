//! Adding mail, and operations on messages: each goes to the engine, and its answer comes back by a channel.

use super::messages::{
    Add, Freeze, Idle, NewRoute, Outcome, Purge, Quarantine, Recover, Remove, Reroute, SendNow, WaitIdle,
    Which,
};
use super::{Outside, Reply, SpoolActor};
use crate::engine::{Input, Work};
use actix::{AsyncContext, Context, Handler, Message as ActorMessage, ResponseFuture};
use spool_core::{AddError, MessageId, SpoolError, harmless};
use tokio::sync::oneshot;

/// Ends waiting and frozen messages and returns a notice that their recipients failed, even if the submitter is not known or failures are
/// configured to be frozen. Recipients whose NOTIFY excludes failures end without a notice. A message that is being sent is not changed.
/// Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::NoNotices`] when the spool returns none; what went wrong with single messages, such as
/// [`SpoolError::NullReversePath`] and [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Bounce {
    /// The messages.
    pub ids: Vec<MessageId>,
    /// Why, for the sender: one line.
    pub reason: Option<String>,
}

/// Ends waiting and frozen messages as if they had expired: they bounce or freeze as configured for failures. A message that is being sent is
/// not changed. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Expire(pub Vec<MessageId>);

type Added = ResponseFuture<Result<Vec<MessageId>, AddError>>;
type Operated = ResponseFuture<Result<Outcome, SpoolError>>;

impl SpoolActor {
    /// Sends the engine an input whose answer is that of an add. When the channel closes without an answer, the spool has ended.
    fn ask_add(&mut self, input: impl FnOnce(Reply) -> Input<Outside>, ctx: &mut Context<Self>) -> Added {
        let (reply, answer) = oneshot::channel();
        self.feed(input(Reply::Added(reply)), ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(supervision.add_error())) })
    }

    /// Sends the engine an input whose answer is that of an operation. When the channel closes without an answer, the spool has ended.
    fn ask_operation(
        &mut self,
        input: impl FnOnce(Reply) -> Input<Outside>,
        ctx: &mut Context<Self>,
    ) -> Operated {
        let (reply, answer) = oneshot::channel();
        self.feed(input(Reply::Operated(reply)), ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(supervision.error())) })
    }

    fn operate(&mut self, work: Work, ids: Vec<MessageId>, ctx: &mut Context<Self>) -> Operated {
        self.ask_operation(|reply| Input::Operate(work, ids, reply), ctx)
    }
}

impl Handler<Add> for SpoolActor {
    type Result = Added;

    fn handle(&mut self, add: Add, ctx: &mut Context<Self>) -> Added {
        match add.0 {
            Ok(mail) => self.ask_add(|reply| Input::Add(Box::new(mail), reply), ctx),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Handler<Quarantine> for SpoolActor {
    type Result = Added;

    fn handle(&mut self, quarantine: Quarantine, ctx: &mut Context<Self>) -> Added {
        match quarantine.mail.0 {
            Ok(mail) => self.ask_add(
                |reply| Input::Quarantine(Box::new(mail), quarantine.reason, reply),
                ctx,
            ),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Handler<Freeze> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, freeze: Freeze, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(freeze, ctx.address());
        }
        self.operate(Work::Freeze, freeze.0, ctx)
    }
}

impl Handler<SendNow> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, send: SendNow, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(send, ctx.address());
        }
        self.catch_up(ctx);
        let ids = match send.which {
            Which::AllMessages => self.engine.queue().ids(true),
            Which::FrozenOnly => self.engine.queue().ids(false),
            Which::SomeMessages(ids) => ids,
        };
        self.operate(Work::SendNow(send.retry_intervals.into()), ids, ctx)
    }
}

impl Handler<Remove> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, remove: Remove, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(remove, ctx.address());
        }
        self.operate(Work::Remove, remove.0, ctx)
    }
}

impl Handler<Recover> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, recover: Recover, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(recover, ctx.address());
        }
        self.operate(Work::Recover(recover.from), recover.ids, ctx)
    }
}

impl Handler<Reroute> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, reroute: Reroute, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(reroute, ctx.address());
        }
        if let NewRoute::To(_) = reroute.to {
            tracing::debug!(messages = reroute.ids.len(), to = ?reroute.to, "messages get another route");
        }
        self.operate(Work::Reroute(reroute.to), reroute.ids, ctx)
    }
}

impl Handler<Bounce> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, bounce: Bounce, ctx: &mut Context<Self>) -> Operated {
        self.catch_up(ctx);
        if !self.engine.returns_notices() {
            return Box::pin(std::future::ready(Err(SpoolError::NoNotices)));
        }
        if self.is_loading() {
            return self.once_loaded(bounce, ctx.address());
        }
        let reason = bounce.reason.as_deref().map_or_else(
            || "the mail system's operator has given it up".to_owned(),
            harmless,
        );
        let messages = bounce.ids.len();
        tracing::debug!(messages, reason, "messages are bounced by hand");
        self.operate(Work::Bounce(reason.into()), bounce.ids, ctx)
    }
}

impl Handler<Expire> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, expire: Expire, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(expire, ctx.address());
        }
        tracing::debug!(messages = expire.0.len(), "messages are expired by hand");
        self.operate(Work::Expire, expire.0, ctx)
    }
}

impl Handler<Purge> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, purge: Purge, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(purge, ctx.address());
        }
        self.ask_operation(|reply| Input::Purge(purge.older_than, purge.ids, reply), ctx)
    }
}

impl Handler<WaitIdle> for SpoolActor {
    type Result = ResponseFuture<Result<Idle, SpoolError>>;

    fn handle(&mut self, _: WaitIdle, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (reply, idle) = oneshot::channel();
        self.feed(Input::WaitIdle(Reply::Idle(reply)), ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move { idle.await.map_err(|_| supervision.error()) })
    }
}
