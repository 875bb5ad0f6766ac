//! Looking: lists, single messages, bodies. From memory where that suffices; the disk is read off the actor's thread.

use super::messages::{Details, Get, GetBody, ListMessages};
use super::parts;
use super::{Looked, SpoolActor};
use crate::errors::operation_error;
use actix::{AsyncContext, Context, Handler};
use bytes::Bytes;
use spool_core::store::{Archive, Archived, LISTING_BYTES, Listed, Store, StoreError};
use spool_core::{EnvelopeSummary, MessageId, MessageSummary, ShownStatus, SpoolError, Timestamp};

impl SpoolActor {
    /// Reads from disk off this thread. Only the caller waits for it.
    pub(super) fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, SpoolError> + Send + 'static,
    ) -> Looked<T> {
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (read, supervision) = (self.blocking(read), self.supervision.clone());
        Box::pin(async move { read.await.unwrap_or_else(|| Err(supervision.error())) })
    }
}

impl Handler<ListMessages> for SpoolActor {
    type Result = Looked<Vec<MessageSummary>>;

    fn handle(&mut self, list: ListMessages, ctx: &mut Context<Self>) -> Self::Result {
        if self.is_loading() {
            return self.once_loaded(list, ctx.address());
        }
        if let Some(archive) = list.archive {
            return self.look(move |store| list_archive(store, archive, &list));
        }
        self.catch_up(ctx);
        let now = self.now();
        let messages = self.engine.queue.list(list.after, list.limit, now);
        if list.envelopes {
            let Some(held) = self.budget.look(LISTING_BYTES) else {
                return Box::pin(std::future::ready(Err(SpoolError::Busy)));
            };
            return self.look(move |store| {
                let listed = with_envelopes(store, messages);
                drop(held);
                listed
            });
        }
        Box::pin(std::future::ready(self.readable().map(|()| messages)))
    }
}

/// The first of `messages`, about [`LISTING_BYTES`] of them, and at least one unless all have gone. A message that was
/// delivered meanwhile is left out.
fn with_envelopes(store: &Store, messages: Vec<MessageSummary>) -> Result<Vec<MessageSummary>, SpoolError> {
    let (mut listed, mut bytes) = (Vec::with_capacity(messages.len()), 0);
    let mut load = store.sequential();
    for mut summary in messages {
        if bytes >= LISTING_BYTES {
            break;
        }
        match load(summary.id) {
            Ok(message) => {
                bytes += message.footprint();
                summary.envelope = Some(EnvelopeSummary::of(&message));
                summary.reason = spool_core::reason(&message.state);
                summary.frozen = spool_core::frozen_kind(&message.state);
            }
            Err(StoreError::NoSuchMessage(_)) => continue,
            // Damaged mail is on the spool: it is listed, without what cannot be read.
            Err(StoreError::Damaged { reason, .. }) => summary.set_unreadable(reason),
            Err(error) => return Err(operation_error(error)),
        }
        listed.push(summary);
    }
    Ok(listed)
}

fn list_archive(
    store: &Store,
    archive: Archive,
    list: &ListMessages,
) -> Result<Vec<MessageSummary>, SpoolError> {
    let pairs = store
        .list_archive(archive, list.after, list.limit)
        .map_err(operation_error)?;
    let summary = |(id, archived): Listed| MessageSummary::of_archived(id, archive, archived.as_ref());
    Ok(pairs.into_iter().map(summary).collect())
}

impl Handler<Get> for SpoolActor {
    type Result = Looked<Details>;

    fn handle(&mut self, get: Get, ctx: &mut Context<Self>) -> Self::Result {
        self.catch_up(ctx);
        let now = self.now();
        let status = self.engine.queue.status(get.0, now);
        if status.is_none() && self.is_loading() {
            return self.once_loaded(get, ctx.address());
        }
        let route = self.engine.queue.route_of(get.0);
        let noted = self.engine.queue.noted_route(get.0);
        let looked = self.look(move |store| {
            let mut details = details(store, get.0, status, now.wall)?;
            // The disk has the route of the last attempt.
            if let Some(route) = route {
                details.message.next_hops = route.next_hops;
                details.message.origin = route.origin;
            }
            details.next_hops_afterwards = noted;
            Ok(details)
        });
        let spool = ctx.address();
        Box::pin(async move {
            let mut details = looked.await?;
            parts::put_in(&spool, &mut details).await?;
            Ok(details)
        })
    }
}

fn details(
    store: &Store,
    id: MessageId,
    status: Option<ShownStatus>,
    now: Timestamp,
) -> Result<Details, SpoolError> {
    let (message, queue, status, reason) = match store.load(id) {
        Ok(message) => {
            let status = status.unwrap_or_else(|| ShownStatus::at(message.state.status, now));
            (message, status.queue(), status, None)
        }
        Err(StoreError::NoSuchMessage(_)) => {
            let (archive, archived, _) = in_an_archive(store, id)?;
            let status = match archive {
                Archive::Removed => ShownStatus::Removed,
                Archive::Quarantine => ShownStatus::Quarantined,
            };
            (archived.message, archive.queue(), status, archived.reason)
        }
        Err(error) => return Err(operation_error(error)),
    };
    Ok(Details {
        message,
        queue,
        status,
        reason,
        next_hops_afterwards: None,
        parts: Vec::new(),
        moved: Vec::new(),
    })
}

fn in_an_archive(store: &Store, id: MessageId) -> Result<(Archive, Archived, Bytes), SpoolError> {
    for archive in Archive::ALL {
        match store.archived(archive, id) {
            Ok((archived, body)) => return Ok((archive, archived, body)),
            Err(StoreError::NoSuchMessage(_)) => {}
            Err(error) => return Err(operation_error(error)),
        }
    }
    Err(SpoolError::NoSuchMessage(id))
}

impl Handler<GetBody> for SpoolActor {
    type Result = Looked<Bytes>;

    fn handle(&mut self, get: GetBody, ctx: &mut Context<Self>) -> Self::Result {
        self.catch_up(ctx);
        let now = self.now();
        if self.is_loading() && self.engine.queue.status(get.0, now).is_none() {
            return self.once_loaded(get, ctx.address());
        }
        self.look(move |store| match store.body(get.0) {
            Ok(body) => Ok(body),
            Err(StoreError::NoSuchMessage(_)) => in_an_archive(store, get.0).map(|(_, _, body)| body),
            Err(error) => Err(operation_error(error)),
        })
    }
}
