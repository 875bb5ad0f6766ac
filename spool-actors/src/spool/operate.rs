//! Adding mail, and operations on messages: each goes to the engine, and its answer comes back by a channel.

use super::messages::{
    Add, Freeze, Idle, Outcome, Purge, Quarantine, Recover, Remove, Reroute, SendNow, WaitIdle, Which,
};
use super::{Outside, SpoolActor, disk};
use crate::engine::{Answer, Input, Work};
use crate::supervision::Supervision;
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
    /// Gives the engine an input with a reply, and returns its answer. When the channel closes without one, the spool has ended.
    fn ask<T>(
        &mut self,
        input: impl FnOnce(oneshot::Sender<Answer>) -> Input<Outside>,
        ended: impl FnOnce(&Supervision) -> T + 'static,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<T>
    where
        T: TryFrom<Answer> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.feed(input(reply), ctx);
        let supervision = self.supervision.clone();
        Box::pin(async move {
            let answer = answer.await.ok().and_then(|answer| T::try_from(answer).ok());
            answer.unwrap_or_else(|| ended(&supervision))
        })
    }

    fn ask_add(
        &mut self,
        input: impl FnOnce(oneshot::Sender<Answer>) -> Input<Outside>,
        ctx: &mut Context<Self>,
    ) -> Added {
        self.ask(input, |supervision| Err(supervision.add_error()), ctx)
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

/// A message that requests an operation on messages.
trait Operate: ActorMessage<Result = Result<Outcome, SpoolError>> + Send + 'static {
    /// Whether it could be done now.
    fn check(&self, _: &SpoolActor) -> Result<(), SpoolError> {
        Ok(())
    }

    /// What is to be done, and with which messages.
    fn work(self, spool: &SpoolActor) -> (Work, Vec<MessageId>);
}

impl<M: Operate> Handler<M> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, operation: M, ctx: &mut Context<Self>) -> Operated {
        self.catch_up(ctx);
        if let Err(error) = operation.check(self) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if self.is_loading() {
            return self.once_loaded(operation, ctx.address());
        }
        let (work, ids) = operation.work(self);
        let input = |reply| Input::Operate(work, ids, reply);
        self.ask(input, |supervision| Err(supervision.error()), ctx)
    }
}

impl Operate for Freeze {
    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        (Work::Freeze, self.0)
    }
}

impl Operate for SendNow {
    fn work(self, spool: &SpoolActor) -> (Work, Vec<MessageId>) {
        let ids = match self.which {
            Which::AllMessages => spool.engine.queue.ids(true),
            Which::FrozenOnly => spool.engine.queue.ids(false),
            Which::SomeMessages(ids) => ids,
        };
        (Work::SendNow(self.retry_intervals.into()), ids)
    }
}

impl Operate for Remove {
    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        (Work::Remove, self.0)
    }
}

impl Operate for Recover {
    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        (Work::Recover(self.from), self.ids)
    }
}

impl Operate for Reroute {
    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        tracing::debug!(messages = self.ids.len(), to = ?self.to, "messages get another route");
        (Work::Reroute(self.to), self.ids)
    }
}

impl Operate for Bounce {
    fn check(&self, spool: &SpoolActor) -> Result<(), SpoolError> {
        match spool.engine.returning.is_on() {
            true => Ok(()),
            false => Err(SpoolError::NoNotices),
        }
    }

    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        let reason = self.reason.as_deref().map_or_else(
            || "the mail system's operator has given it up".to_owned(),
            harmless,
        );
        tracing::debug!(messages = self.ids.len(), reason, "messages are bounced by hand");
        (Work::Bounce(reason.into()), self.ids)
    }
}

impl Operate for Expire {
    fn work(self, _: &SpoolActor) -> (Work, Vec<MessageId>) {
        tracing::debug!(messages = self.0.len(), "messages are expired by hand");
        (Work::Expire, self.0)
    }
}

impl Handler<Purge> for SpoolActor {
    type Result = Operated;

    fn handle(&mut self, purge: Purge, ctx: &mut Context<Self>) -> Operated {
        if self.is_loading() {
            return self.once_loaded(purge, ctx.address());
        }
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (reply, outcome) = oneshot::channel();
        let now = self.now().wall;
        let answer = |_: &mut Self, outcome: Option<_>| {
            // The caller may have stopped waiting. Without an outcome the channel closes.
            drop(outcome.map(|outcome| reply.send(outcome)));
        };
        self.look_after(ctx, move |store| disk::purge(store, purge, now), answer);
        let supervision = self.supervision.clone();
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(supervision.error())) })
    }
}

impl Handler<WaitIdle> for SpoolActor {
    type Result = ResponseFuture<Result<Idle, SpoolError>>;

    fn handle(&mut self, _: WaitIdle, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.ask(Input::WaitIdle, |supervision| Err(supervision.error()), ctx)
    }
}
