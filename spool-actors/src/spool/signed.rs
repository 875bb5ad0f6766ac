//! Signs notices before they are written. A notice and the end of the recipients it is about are one change, so the whole change waits
//! for the signature; until then the message it is about counts as being written.
//!
//! A notice is never lost for want of a signature: when the signer fails, is busy or panics, the notice is written unsigned and the log
//! says why.

use super::SpoolActor;
use super::commit::Tag;
use actix::{AsyncContext, Context, Handler, Message as ActorMessage, WeakAddr};
use bytes::Bytes;
use spool_core::store::Change;
use spool_core::{EnvelopeSummary, SignError, Signer};
use std::sync::Arc;

/// Who signs notices, and where the signed ones come back.
#[derive(Debug)]
pub(super) struct Signing {
    signer: Option<Arc<dyn Signer>>,
    own: Option<WeakAddr<SpoolActor>>,
}

impl Signing {
    pub(super) const fn new(signer: Option<Arc<dyn Signer>>) -> Self {
        Self { signer, own: None }
    }

    /// The actor has started.
    pub(super) fn start(&mut self, ctx: &Context<SpoolActor>) {
        self.own = Some(ctx.address().downgrade());
    }
}

/// A change whose notice is signed, or stays unsigned.
#[derive(Debug, ActorMessage)]
#[rtype(result = "()")]
struct Signed {
    change: Change,
    tag: Tag,
    urgent: bool,
}

impl SpoolActor {
    /// Commits a change; one with a notice once that is signed. It counts as pending from now on, so that a shutdown waits for it.
    pub(super) fn commit_signed(&mut self, change: Change, tag: Tag, urgent: bool) {
        let (Some(signer), Some(own)) = (&self.signing.signer, self.signing.own.clone()) else {
            return self.commit(change, tag, urgent);
        };
        let (Change::Add(addition), true) = (&change, tag.has_notice()) else {
            return self.commit(change, tag, urgent);
        };
        self.pending += 1;
        // On a task of its own: a panic in the signer must not take the change along.
        let signing = tokio::spawn(signer.sign(addition.body.clone()));
        actix::spawn(async move {
            let signed = signing
                .await
                .unwrap_or_else(|error| Err(SignError::Failed(error.to_string())));
            let (mut change, mut tag) = (change, tag);
            match signed {
                Ok(body) => put_body(&mut change, &mut tag, body),
                Err(error) => tracing::warn!(%error, "a notice is returned unsigned"),
            }
            // Without the actor nothing is written any more.
            if let Some(spool) = own.upgrade() {
                spool.do_send(Signed { change, tag, urgent });
            }
        });
    }
}

impl Handler<Signed> for SpoolActor {
    type Result = ();

    fn handle(&mut self, signed: Signed, ctx: &mut Context<Self>) {
        self.pending = self.pending.saturating_sub(1);
        self.commit(signed.change, signed.tag, signed.urgent);
        self.after_anything(ctx);
    }
}

/// Puts the signed notice in the place of the unsigned one.
fn put_body(change: &mut Change, tag: &mut Tag, body: Bytes) {
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
