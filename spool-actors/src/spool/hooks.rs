//! Asking the embedding program's hooks: on a worker thread, bounded in time, and never at the cost of mail. Each question is
//! answered exactly once: by the hook, or, when the thread is lost with it, as if the hook had failed.

use super::{Brought, Outside, SpoolActor};
use crate::engine::{AskedAttempt, Input};
use actix::Addr;
use futures_util::FutureExt;
use spool_core::disposition::{Decisions, refusals};
use spool_core::{Attempt, Hooks, Message, MessageId, OnError};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A question to a hook. Dropped before it was answered, it is answered by `unanswered`.
struct Question<T> {
    asked: Option<T>,
    own: Addr<SpoolActor>,
    unanswered: fn(T) -> Input<Outside>,
}

impl<T> Question<T> {
    const fn new(asked: T, own: Addr<SpoolActor>, unanswered: fn(T) -> Input<Outside>) -> Self {
        Self {
            asked: Some(asked),
            own,
            unanswered,
        }
    }

    fn answer(mut self, answer: impl FnOnce(T) -> Input<Outside>) {
        if let Some(asked) = self.asked.take() {
            self.own.do_send(Brought(answer(asked)));
        }
    }
}

impl<T> Drop for Question<T> {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.own.do_send(Brought((self.unanswered)(asked)));
        }
    }
}

impl SpoolActor {
    /// Asks whether a message may be tried.
    pub(super) fn ask_presend(&self, message: Arc<Message>, own: Addr<Self>) {
        let (id, hooks) = (message.id, self.hooks.clone());
        let question = Question::new(id, own, |id| Input::Presented(id, None));
        // What is not placed is dropped, and so answered.
        self.for_hooks.place(move || {
            Box::pin(async move {
                let asked = bounded(&hooks, "presend", id, async { hooks.call_presend(message).await });
                let decision = asked.await;
                question.answer(|id| Input::Presented(id, decision));
            })
        });
    }

    /// Asks about each refusal of an attempt.
    pub(super) fn ask_on_error(&self, asked: AskedAttempt, own: Addr<Self>) {
        let hooks = self.hooks.clone();
        let (message, attempt) = (Arc::new(asked.message.as_ref().clone()), asked.attempt.clone());
        let question = Question::new(asked, own, |asked| {
            let decisions = Decisions::by_default(&asked.attempt.report);
            Input::Decided(asked, decisions)
        });
        // What is not placed is dropped, and so answered.
        self.for_hooks.place(move || {
            Box::pin(async move {
                let decisions = decide(&hooks, message, &attempt).await;
                question.answer(|asked| Input::Decided(asked, decisions));
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
