//! Signs notices before they are written. A notice and the end of the recipients it is about are one change, so the whole change waits
//! for the signature; until then the message it is about counts as being written.
//!
//! A notice is never lost for want of a signature: when the signer fails, is busy or panics, the notice is written unsigned and the log
//! says why.

use super::{Brought, Outside, SpoolActor};
use crate::engine::{Input, Tag};
use actix::{AsyncContext, Context};
use bytes::Bytes;
use spool_core::store::Change;
use spool_core::{EnvelopeSummary, SignError};
use std::sync::Arc;

impl SpoolActor {
    /// Has the notice in a change signed. The engine counts it as pending, so that a shutdown waits for it.
    pub(super) fn sign(
        &mut self,
        mut change: Change,
        mut tag: Tag<Outside>,
        urgent: bool,
        ctx: &mut Context<Self>,
    ) {
        let (Some(signer), Change::Add(addition)) = (&self.signer, &change) else {
            return self.feed(Input::Signed { change, tag, urgent }, ctx);
        };
        // On a task of its own: a panic in the signer must not take the change along.
        let signing = tokio::spawn(signer.sign(addition.body.clone()));
        let own = ctx.address();
        actix::spawn(async move {
            let signed = signing
                .await
                .unwrap_or_else(|error| Err(SignError::Failed(error.to_string())));
            match signed {
                Ok(body) => put_body(&mut change, &mut tag, body),
                Err(error) => tracing::warn!(%error, "a notice is returned unsigned"),
            }
            own.do_send(Brought(Input::Signed { change, tag, urgent }));
        });
    }
}

/// Puts the signed notice in the place of the unsigned one.
fn put_body(change: &mut Change, tag: &mut Tag<Outside>, body: Bytes) {
    let Change::Add(addition) = change else {
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
    tag.resize_notice(size);
}
