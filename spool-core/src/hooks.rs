//! Decisions of an embedding program: before an attempt, and about a refusal.
//!
//! Hooks are async and bounded in time. A hook that panics or takes too long never loses mail: the spool takes the
//! documented action and logs it.

use crate::attempt::{AttemptResult, RecipientIndex};
use crate::clock::Timestamp;
use crate::future::BoxFuture;
use crate::message::Message;
use crate::next_hop::NextHop;
use crate::on_error::OnError;
use crate::reply::Reply;
use derive_more::{Debug, Display};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What a presend hook decides about a message that is about to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Presend {
    /// Try it now.
    #[display("send now")]
    SendNow,
    /// Not before then. No retry interval is taken.
    #[display("not before {_0}")]
    SendAt(Timestamp),
    /// Freeze it.
    Freeze,
    /// Remove it.
    Remove,
}

/// What an on_error hook is asked about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// The message, as it was before the attempt.
    pub message: Arc<Message>,
    /// The recipient that was refused; `None`: all that remain, with the sender, the body or the session.
    pub recipient: Option<RecipientIndex>,
    /// The next hop, when one was reached.
    pub peer: Option<NextHop>,
    /// How the attempt ended.
    pub result: AttemptResult,
    /// The reply that refused it, if there was one.
    pub reply: Option<Reply>,
    /// What the spool would do.
    pub default: OnError,
}

type PresendHook = Arc<dyn Fn(Arc<Message>) -> BoxFuture<Presend> + Send + Sync>;
type OnErrorHook = Arc<dyn Fn(Refusal) -> BoxFuture<OnError> + Send + Sync>;

/// The hooks of one spool.
#[derive(Debug, Clone)]
pub struct Hooks {
    #[debug("{}", presend.is_some())]
    presend: Option<PresendHook>,
    #[debug("{}", on_error.is_some())]
    on_error: Option<OnErrorHook>,
    /// How long one call may take. Default 30 s.
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            presend: None,
            on_error: None,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Hooks {
    /// Asks `hook` before every attempt. One that fails counts as `SendAt` of the next retry interval.
    pub fn presend<F>(&mut self, hook: impl Fn(Arc<Message>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Presend> + Send + 'static,
    {
        self.presend = Some(Arc::new(move |message| Box::pin(hook(message))));
    }

    /// Asks `hook` about every refusal. One that fails counts as [`OnError::TryLater`].
    pub fn on_error<F>(&mut self, hook: impl Fn(Refusal) -> F + Send + Sync + 'static)
    where
        F: Future<Output = OnError> + Send + 'static,
    {
        self.on_error = Some(Arc::new(move |refusal| Box::pin(hook(refusal))));
    }

    /// Whether there is a presend hook.
    #[must_use]
    pub fn has_presend(&self) -> bool {
        self.presend.is_some()
    }

    /// Whether there is an on_error hook.
    #[must_use]
    pub fn has_on_error(&self) -> bool {
        self.on_error.is_some()
    }

    /// Calls the presend hook; without one, `SendNow`. The call itself may panic, before it gives a future.
    pub async fn call_presend(&self, message: Arc<Message>) -> Presend {
        match &self.presend {
            Some(hook) => hook(message).await,
            None => Presend::SendNow,
        }
    }

    /// Calls the on_error hook; without one, the default. The call itself may panic, before it gives a future.
    pub async fn call_on_error(&self, refusal: Refusal) -> OnError {
        match &self.on_error {
            Some(hook) => hook(refusal).await,
            None => refusal.default,
        }
    }
}
