//! Adding mail, and operations on messages: each goes to the engine, and its answer comes back by a channel.

use super::messages::{
    Add, Freeze, Idle, NewRoute, Outcome, Purge, Quarantine, Recover, Remove, Reroute, SendNow, WaitIdle,
    Which,
};
use super::{Outside, Reply, SpoolActor};
use crate::engine::{Input, NewMail, Work};
use actix::{AsyncContext, Context, Handler, Message as ActorMessage, ResponseFuture};
use spool_core::{AddError, MessageId, SpoolError, harmless};
use tokio::sync::oneshot;

/// Ends messages, waiting and frozen ones, and returns a notice that their recipients failed; also where their submitter is not known, or where
/// failures are frozen. Recipients whose NOTIFY wants no such notice end without one. One that is being sent is left alone. Replies when it is
/// durable.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::NoNotices`] when the spool returns none; what went wrong with single messages, such as
/// [`SpoolError::NullReversePath`] and [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Bounce {
    /// Which.
    pub ids: Vec<MessageId>,
    /// Why, for the sender: one line.
    pub reason: Option<String>,
}

/// Ends messages, waiting and frozen ones, as if their time had run out: what follows is what is configured for failures. One that is being
/// sent is left alone. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Expire(pub Vec<MessageId>);

type Added = ResponseFuture<Result<Vec<MessageId>, AddError>>;
type Operated = ResponseFuture<Result<Outcome, SpoolError>>;

impl SpoolActor {
    /// Gives the engine something whose answer is that of an add. A sender that is gone took its spool with it.
    fn ask_add(&mut self, input: impl FnOnce(Reply) -> Input<Outside>, ctx: &mut Context<Self>) -> Added {
        let (reply, answer) = oneshot::channel();
        self.feed(input(Reply::Added(reply)), ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(supervision.add_error())) })
    }

    /// Gives the engine something whose answer is that of an operation. Its sender is gone when the spool has ended meanwhile.
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
        let submission = match add.submission {
            Ok(submission) => submission,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let mail = Box::new(NewMail {
            submission,
            routing: add.routing,
            fingerprint: add.fingerprint,
            unknown_submitter: add.unknown_submitter,
        });
        self.ask_add(|reply| Input::Add(mail, reply), ctx)
    }
}

impl Handler<Quarantine> for SpoolActor {
    type Result = Added;

    fn handle(&mut self, quarantine: Quarantine, ctx: &mut Context<Self>) -> Added {
        match quarantine.mail.submission {
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
            Which::AllMessages => self.engine.ids(true),
            Which::FrozenOnly => self.engine.ids(false),
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
