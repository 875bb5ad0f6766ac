//! Signs notices before they are written. A notice and the end of the recipients it is about are one change, so the whole change waits
//! for the signature; until then the message it is about counts as being written.
//!
//! A notice is never lost for want of a signature: when the signer fails, is busy, panics or does not answer, the notice is written
//! unsigned and the log says why.

use super::{Brought, Outside, SpoolActor};
use crate::engine::{Input, ToCommit};
use actix::{AsyncContext, Context};
use bytes::Bytes;
use spool_core::store::Change;
use spool_core::{BoxFuture, EnvelopeSummary, SignError};
use std::sync::Arc;
use std::time::Duration;

/// How long a signer may take. It has a time limit of its own, which is shorter; one that does not keep it must not hold up the message
/// that the notice is about, nor a shutdown.
const MAX_WAIT: Duration = Duration::from_secs(60);

impl SpoolActor {
    /// Has the notice in a change signed. The engine counts it as pending, so that a shutdown waits for it.
    pub(super) fn sign(&mut self, mut commit: ToCommit<Outside>, ctx: &mut Context<Self>) {
        let (Some(signer), Change::Add(addition)) = (&self.signer, &commit.change) else {
            return self.feed(Input::Signed(commit), ctx);
        };
        let signing = signer.sign(addition.body.clone());
        let own = ctx.address();
        actix::spawn(async move {
            match within_limits(signing).await {
                Ok(body) => put_body(&mut commit, body),
                Err(error) => tracing::warn!(%error, "a notice is returned unsigned"),
            }
            own.do_send(Brought(Input::Signed(commit)));
        });
    }
}

/// What a signer answers, whatever it does. It runs on a task of its own: a panic in it must not take the change along.
async fn within_limits(signing: BoxFuture<Result<Bytes, SignError>>) -> Result<Bytes, SignError> {
    let mut signing = tokio::spawn(signing);
    match tokio::time::timeout(MAX_WAIT, &mut signing).await {
        Ok(signed) => signed.unwrap_or_else(|error| Err(SignError::Failed(error.to_string()))),
        Err(_) => {
            signing.abort();
            Err(SignError::Failed("the signer did not answer in time".to_owned()))
        }
    }
}

/// Puts the signed notice in the place of the unsigned one.
fn put_body(commit: &mut ToCommit<Outside>, body: Bytes) {
    let Change::Add(addition) = &mut commit.change else {
        return;
    };
    let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
    addition.body = body;
    // The first event tells of the notice, with its size.
    let envelope = addition
        .events
        .first_mut()
        .and_then(|event| event.envelope.as_mut());
    if let Some(envelope) = envelope {
        let summary: &mut EnvelopeSummary = Arc::make_mut(envelope);
        summary.size = size;
    }
    commit.tag.resize_notice(size);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signer_that_never_answers_is_not_waited_for() {
        let begun = tokio::time::Instant::now();
        let signed = within_limits(Box::pin(std::future::pending())).await;
        assert!(matches!(signed, Err(SignError::Failed(_))), "{signed:?}");
        assert_eq!(begun.elapsed().as_secs(), MAX_WAIT.as_secs());
        let signed = within_limits(Box::pin(async { Ok(Bytes::from_static(b"x")) })).await;
        assert_eq!(signed, Ok(Bytes::from_static(b"x")));
    }
}
