//! Ending messages by hand: what a person gives up is told to its sender like any other end.

use super::SpoolActor;
use super::bulk::{BulkId, Reply, Work};
use super::commit::Tag;
use super::messages::Outcome;
use super::returning::Round;
use super::taken::Taken;
use actix::{AsyncContext, Context, Handler, Message as ActorMessage};
use bytes::Bytes;
use spool_core::disposition::{Fate, given_up};
use spool_core::{Held, Message, MessageId, SpoolError, harmless};
use std::sync::Arc;

/// Ends messages, waiting and frozen ones, and returns a notice that their recipients failed; also where their submitter is not known, or where
/// failures are frozen. Recipients whose NOTIFY wants no such notice end without one. One that is being sent is left alone. Replies when it is
/// durable.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::NoNotices`] when the spool returns none; what went wrong with single messages, such as
/// [`SpoolError::NullReversePath`] and [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Bounce {
    /// Which.
    pub ids: Vec<MessageId>,
    /// Why, for the sender: one line.
    pub reason: Option<String>,
}

/// Ends messages, waiting and frozen ones, as if their time had run out: what follows is what is configured for failures. One that is being
/// sent is left alone. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::BeingSent`], is in the [`Outcome`].
#[derive(Debug, Clone, ActorMessage)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Expire(pub Vec<MessageId>);

impl Handler<Bounce> for SpoolActor {
    type Result = Reply;

    fn handle(&mut self, bounce: Bounce, ctx: &mut Context<Self>) -> Reply {
        if !self.returning.is_on() {
            return Box::pin(std::future::ready(Err(SpoolError::NoNotices)));
        }
        if self.is_loading() {
            return self.once_loaded(bounce, ctx.address());
        }
        let reason = bounce.reason.as_deref().map_or_else(
            || "the mail system's operator has given it up".to_owned(),
            harmless,
        );
        tracing::debug!(
            messages = bounce.ids.len(),
            reason,
            "messages are bounced by hand"
        );
        self.start_bulk(Work::Bounce(reason.into()), bounce.ids, ctx)
    }
}

impl Handler<Expire> for SpoolActor {
    type Result = Reply;

    fn handle(&mut self, expire: Expire, ctx: &mut Context<Self>) -> Reply {
        if self.is_loading() {
            return self.once_loaded(expire, ctx.address());
        }
        tracing::debug!(messages = expire.0.len(), "messages are expired by hand");
        self.start_bulk(Work::Expire, expire.0, ctx)
    }
}

impl SpoolActor {
    /// Ends a message that an operation has taken; `bounce`: the reason of a bounce, otherwise it expires.
    pub(super) fn end_taken(
        &mut self,
        bulk: BulkId,
        bounce: Option<&Arc<str>>,
        taken: &Taken,
        (mut message, body): (Message, Bytes),
        held: &Arc<Held>,
    ) {
        let (id, before) = (taken.id, taken.before);
        if bounce.is_some() && message.envelope.reverse_path.is_null() {
            self.give_back(id, before);
            return self.bulk_done(bulk, Err(SpoolError::NullReversePath(id)));
        }
        let reason = bounce.map_or("expired: the mail system's operator ended it", |reason| reason);
        message.state = given_up(message.state, reason);
        let concluded = self.end_of_round(Round {
            message,
            body,
            fate: Fate::Failed {
                expired: bounce.is_none(),
            },
            freeze: None,
            kinds: Vec::new(),
            relayed: Vec::new(),
            by_hand: bounce.is_some(),
            tells: true,
        });
        let tag = Tag::Changed {
            bulk,
            id,
            before,
            after: concluded.after,
            notice: concluded.notice,
            _held: Arc::clone(held),
        };
        self.commit_signed(concluded.change, tag, true);
    }
}
