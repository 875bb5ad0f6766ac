//! Asking the embedding program's hooks: on a worker thread, bounded in time, and never at the cost of mail. Each question is
//! answered exactly once: by the hook, or, when the thread is lost with it, as if the hook had failed.

use super::{Brought, Outside, SpoolActor};
use crate::engine::{AskedAttempt, Input};
use actix::Addr;
use futures_util::FutureExt;
use scopeguard::ScopeGuard;
use spool_core::disposition::{Decisions, refusals};
use spool_core::{Attempt, Hooks, Message, MessageId, OnError};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A question to a hook. Dropped before it was answered, it is answered by `unanswered`.
fn question<T>(
    asked: T,
    own: Addr<SpoolActor>,
    unanswered: fn(T) -> Input<Outside>,
) -> ScopeGuard<T, impl FnOnce(T)> {
    scopeguard::guard(asked, move |asked| own.do_send(Brought(unanswered(asked))))
}

impl SpoolActor {
    /// Asks whether a message may be tried.
    pub(super) fn ask_presend(&self, message: Arc<Message>, own: Addr<Self>) {
        let (id, hooks) = (message.id, self.hooks.clone());
        let question = question(id, own.clone(), |id| Input::Presented(id, None));
        // What is not placed is dropped, and so answered.
        self.for_hooks.place(move || {
            Box::pin(async move {
                let asked = bounded(&hooks, "presend", id, async { hooks.call_presend(message).await });
                let decision = asked.await;
                own.do_send(Brought(Input::Presented(
                    ScopeGuard::into_inner(question),
                    decision,
                )));
            })
        });
    }

    /// Asks about each refusal of an attempt.
    pub(super) fn ask_on_error(&self, asked: AskedAttempt, own: Addr<Self>) {
        let hooks = self.hooks.clone();
        let (message, attempt) = (Arc::new(asked.message.as_ref().clone()), asked.attempt.clone());
        let question = question(asked, own.clone(), |asked| {
            let decisions = Decisions::by_default(&asked.attempt.report);
            Input::Decided(asked, decisions)
        });
        // What is not placed is dropped, and so answered.
        self.for_hooks.place(move || {
            Box::pin(async move {
                let decisions = decide(&hooks, message, &attempt).await;
                own.do_send(Brought(Input::Decided(
                    ScopeGuard::into_inner(question),
                    decisions,
                )));
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
