//! What every handler of the API can reach.

use super::slots::Slots;
use crate::config::{Config, SubmissionLimits};
use crate::relay::Relay;
use actix::{Handler, Message};
use spool_actors::SpoolActor;
use spool_core::{Budget, SpoolError};
use spool_smtp::client::SmtpAgent;
use std::path::PathBuf;
use std::sync::Arc;

/// The service as the handlers see it.
pub(crate) struct State {
    pub(super) relay: Relay,
    /// Has the sessions with next hops.
    pub(super) agent: Arc<SmtpAgent>,
    pub(super) limits: SubmissionLimits,
    /// Bodies of requests and answers are charged to it, like mail over SMTP.
    pub(super) memory: Budget,
    /// The directory of the spool.
    pub(super) spool_dir: PathBuf,
    pub(super) slots: Slots,
}

impl State {
    pub(crate) fn new(relay: Relay, agent: Arc<SmtpAgent>, config: &Config) -> Self {
        Self {
            relay,
            agent,
            limits: config.submission_limits(),
            memory: config.server.memory.clone(),
            spool_dir: config.spool.dir.clone(),
            slots: Slots::new(),
        }
    }

    /// Asks the spool.
    pub(super) async fn ask<M, T>(&self, message: M) -> Result<T, SpoolError>
    where
        M: Message<Result = Result<T, SpoolError>> + Send + 'static,
        T: Send + 'static,
        SpoolActor: Handler<M>,
    {
        let answer = self.relay.spool.send(message).await;
        answer.unwrap_or(Err(SpoolError::Killed))
    }
}
