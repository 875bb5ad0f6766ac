//! Asking the embedding program's hooks: on a worker thread, bounded in time, and never at the cost of mail.

use super::SpoolActor;
use actix::{Addr, Context, Handler};
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
    attempt: Attempt,
    decisions: Decisions,
}

impl SpoolActor {
    /// Asks whether a message on the deck may be tried; [`Presented`] brings the answer.
    pub(super) fn ask_presend(&mut self, message: Arc<Message>, own: Addr<Self>) {
        let id = message.id;
        let (hooks, answer) = (self.hooks.clone(), own.clone());
        self.loading += 1;
        let placed = self.workers.place(move || {
            Box::pin(async move {
                let asked = bounded(&hooks, "presend", id, async { hooks.call_presend(message).await });
                answer.do_send(Presented {
                    id,
                    decision: asked.await,
                });
            })
        });
        if !placed {
            own.do_send(Presented { id, decision: None });
        }
    }

    /// Whether the on_error hook has a say in this.
    pub(super) fn asks_on_error(&self, attempt: &Attempt) -> bool {
        let report = &attempt.report;
        let clean = matches!(report.result, AttemptResult::Accepted(_)) && report.refused.is_empty();
        self.hooks.has_on_error() && !clean && report.result != AttemptResult::Interrupted
    }

    /// Asks about each refusal of an attempt; [`Decided`] brings the answers.
    pub(super) fn ask_on_error(&mut self, message: Message, attempt: Attempt, own: Addr<Self>) {
        self.loading += 1;
        let hooks = self.hooks.clone();
        let message = Box::new(message);
        let (unasked, spare) = ((message.clone(), attempt.clone()), own.clone());
        let placed = self.workers.place(move || {
            Box::pin(async move {
                let decisions = decide(&hooks, &message, &attempt).await;
                own.do_send(Decided {
                    message,
                    attempt,
                    decisions,
                });
            })
        });
        if !placed {
            let (message, attempt) = unasked;
            let decisions = Decisions::by_default(&attempt.report);
            spare.do_send(Decided {
                message,
                attempt,
                decisions,
            });
        }
    }
}

async fn decide(hooks: &Hooks, message: &Message, attempt: &Attempt) -> Decisions {
    let shared = Arc::new(message.clone());
    let mut decisions = Decisions::by_default(&attempt.report);
    let (recipients, whole) = refusals(&shared, &attempt.report, &decisions);
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
        self.settle(*decided.message, decided.attempt, &decided.decisions);
        self.after_anything(ctx);
    }
}
