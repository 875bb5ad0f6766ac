//! Asking the embedding program's hooks: on a worker thread, bounded in time, and never at the cost of mail. Each question is
//! answered exactly once: by the hook, or, when the thread is lost with it, as if the hook had failed.

use super::SpoolActor;
use actix::{Addr, Context, Handler, Message as ActorMessage};
use bytes::Bytes;
use futures_util::FutureExt;
use spool_core::disposition::{Decisions, refusals};
use spool_core::{Attempt, AttemptResult, Hooks, Message, MessageId, OnError, Presend};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What the presend hook decided; `None`: it failed.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(super) struct Presented {
    pub(super) id: MessageId,
    pub(super) decision: Option<Presend>,
}

/// What the on_error hook decided about an attempt.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(super) struct Decided {
    message: Box<Message>,
    body: Bytes,
    attempt: Attempt,
    decisions: Decisions,
}

/// A question to a hook. Dropped before it was answered, it is answered by `unanswered`.
struct Question<T, M>
where
    M: ActorMessage<Result = ()> + Send + 'static,
    SpoolActor: Handler<M>,
{
    asked: Option<T>,
    own: Addr<SpoolActor>,
    unanswered: fn(T) -> M,
}

impl<T, M> Question<T, M>
where
    M: ActorMessage<Result = ()> + Send + 'static,
    SpoolActor: Handler<M>,
{
    const fn new(asked: T, own: Addr<SpoolActor>, unanswered: fn(T) -> M) -> Self {
        Self {
            asked: Some(asked),
            own,
            unanswered,
        }
    }

    fn answer(mut self, answer: impl FnOnce(T) -> M) {
        if let Some(asked) = self.asked.take() {
            self.own.do_send(answer(asked));
        }
    }
}

impl<T, M> Drop for Question<T, M>
where
    M: ActorMessage<Result = ()> + Send + 'static,
    SpoolActor: Handler<M>,
{
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.own.do_send((self.unanswered)(asked));
        }
    }
}

impl SpoolActor {
    /// Asks whether a message on the deck may be tried; [`Presented`] brings the answer.
    pub(super) fn ask_presend(&mut self, message: Arc<Message>, own: Addr<Self>) {
        let id = message.id;
        let hooks = self.hooks.clone();
        self.loading += 1;
        let question = Question::new(id, own, |id| Presented { id, decision: None });
        // What is not placed is dropped, and so answered.
        self.workers.place(move || {
            Box::pin(async move {
                let asked = bounded(&hooks, "presend", id, async { hooks.call_presend(message).await });
                let decision = asked.await;
                question.answer(|id| Presented { id, decision });
            })
        });
    }

    /// Whether the on_error hook has a say in this.
    pub(super) fn asks_on_error(&self, attempt: &Attempt) -> bool {
        let report = &attempt.report;
        let clean = matches!(report.result, AttemptResult::Accepted(_)) && report.refused.is_empty();
        self.hooks.has_on_error() && !clean && report.result != AttemptResult::Interrupted
    }

    /// Asks about each refusal of an attempt; [`Decided`] brings the answers.
    pub(super) fn ask_on_error(
        &mut self,
        (message, body): (Message, Bytes),
        attempt: Attempt,
        own: Addr<Self>,
    ) {
        self.loading += 1;
        let hooks = self.hooks.clone();
        let shared = (Arc::new(message.clone()), attempt.clone());
        let asked = (Box::new(message), body, attempt);
        let question = Question::new(asked, own, |(message, body, attempt)| {
            let decisions = Decisions::by_default(&attempt.report);
            Decided {
                message,
                body,
                attempt,
                decisions,
            }
        });
        // What is not placed is dropped, and so answered.
        self.workers.place(move || {
            Box::pin(async move {
                let (message, attempt) = shared;
                let decisions = decide(&hooks, message, &attempt).await;
                question.answer(|(message, body, attempt)| Decided {
                    message,
                    body,
                    attempt,
                    decisions,
                });
            })
        });
    }
}

async fn decide(hooks: &Hooks, message: Arc<Message>, attempt: &Attempt) -> Decisions {
    let mut decisions = Decisions::by_default(&attempt.report);
    let (recipients, whole) = refusals(&message, &attempt.report, &decisions);
    let mut asked = Vec::with_capacity(recipients.len());
    for refusal in recipients {
        let answer = bounded(hooks, "on_error", message.id, async {
            hooks.call_on_error(refusal).await
        });
        asked.push(answer.await.unwrap_or(OnError::TryLater));
    }
    decisions.recipients = asked;
    if let Some(refusal) = whole {
        let answer = bounded(hooks, "on_error", message.id, async {
            hooks.call_on_error(refusal).await
        });
        decisions.message = answer.await.unwrap_or(OnError::TryLater);
    }
    decisions
}

/// `None` when the hook panicked or took too long; the log says which.
async fn bounded<T>(hooks: &Hooks, name: &str, id: MessageId, call: impl Future<Output = T>) -> Option<T> {
    match tokio::time::timeout(hooks.timeout, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(_)) => {
            tracing::error!(%id, hook = name, "the hook panicked");
            None
        }
        Err(_) => {
            tracing::error!(%id, hook = name, timeout = ?hooks.timeout, "the hook did not answer in time");
            None
        }
    }
}

impl Handler<Presented> for SpoolActor {
    type Result = ();

    fn handle(&mut self, presented: Presented, ctx: &mut Context<Self>) {
        self.loading = self.loading.saturating_sub(1);
        self.presented(presented, ctx);
        self.after_anything(ctx);
    }
}

impl Handler<Decided> for SpoolActor {
    type Result = ();

    fn handle(&mut self, decided: Decided, ctx: &mut Context<Self>) {
        self.loading = self.loading.saturating_sub(1);
        self.settle(
            *decided.message,
            decided.body,
            decided.attempt,
            &decided.decisions,
        );
        self.after_anything(ctx);
    }
}
