//! Shelves: quarantine, recover, purge, and looking at what lies there.
//!
//! A message is on the journal or on a shelf, never on neither: the place it comes to is durable before the place it
//! leaves is touched.

use super::SpoolActor;
use super::bulk::{BulkId, frozen, operation_error};
use super::commit::{Recovered, Tag};
use super::content::Size;
use super::messages::{Outcome, Purge, Quarantine};
use crate::gate::{RETRY_AFTER, add_error};
use actix::{AsyncContext, Context, Handler, ResponseFuture};
use bytes::Bytes;
use spool_core::store::{Addition, Change, NewMessage, Shelf, Shelved, Store, StoreError};
use spool_core::{
    AddError, EventKind, Held, Message, MessageId, MessageState, Related, RetryPolicy, Section, SpoolError,
    Status, Submission, Timestamp,
};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Pairs that are read at once by a purge.
const PAGE: usize = 1000;

impl SpoolActor {
    /// Reads pairs off a shelf, to be added again.
    pub(super) fn fetch(&mut self, bulk: BulkId, shelf: Shelf, ids: Vec<MessageId>, ctx: &mut Context<Self>) {
        let (mut wanted, now) = (Vec::new(), self.now());
        for id in ids {
            if self.queue.status(id, now).is_some() {
                self.bulk_done(bulk, Err(SpoolError::OnSpool(id)));
            } else {
                wanted.push(id);
            }
        }
        let (store, budget) = (Arc::clone(&self.store), self.budget.clone());
        let read = move || -> Vec<_> {
            let one = |id| {
                let size = store.shelved_size(shelf, id).map_err(operation_error)?;
                let busy = SpoolError::Busy {
                    retry_after: RETRY_AFTER,
                };
                // Before it is read.
                let mut held = budget.hold_first(size).ok_or(busy)?;
                let (shelved, body) = store.shelved(shelf, id).map_err(operation_error)?;
                held.resize(shelved.message.footprint().saturating_add(size));
                Ok((shelved, body, held))
            };
            wanted
                .into_iter()
                .map(one)
                .collect::<Vec<Result<_, SpoolError>>>()
        };
        self.off_thread(ctx, read, move |actor, read, _| {
            for pair in read {
                match pair {
                    Ok((shelved, body, held)) => actor.add_again(bulk, shelf, shelved, body, held),
                    Err(error) => actor.bulk_done(bulk, Err(error)),
                }
            }
        });
    }

    fn add_again(&mut self, bulk: BulkId, shelf: Shelf, shelved: Shelved, body: Bytes, held: Held) {
        let message = shelved.message;
        let now = self.now();
        if !self.ids.is_past(message.id, now) {
            let reason = "its id lies in the future: give it another name".to_owned();
            return self.bulk_done(
                bulk,
                Err(SpoolError::Unreadable {
                    id: message.id,
                    reason,
                }),
            );
        }
        let (next_hops, whole) = self.first_route(&message);
        let destination = self.queue.enlist(&next_hops, self.clock.now());
        let events = vec![self.tell(EventKind::Recovered(shelf.queue()), &message)];
        let id = message.id;
        let (spooled_at, footprint, origin) = (message.spooled_at, message.footprint(), message.origin);
        let addition = Addition {
            messages: vec![again(&message, now)],
            body,
            flows: message.flows,
            parent: message.parent,
            related: message.related.to_vec(),
            spooled_at,
            key: None,
            conclusion: None,
            events,
        };
        let tag = Tag::Recovered(Recovered {
            bulk,
            id,
            shelf,
            destination,
            spooled_at,
            expires_at: message.state.expires_at,
            size: Size::new(message.body_size, footprint),
            origin,
            whole,
            generation: self.queue.generation(),
            _held: held,
        });
        self.commit(Change::Add(addition), tag, true);
    }

    /// It is on the journal: now the pair can go. Until then the message stays claimed: a remove that came first would lay a
    /// new pair under the same names.
    pub(super) fn drop_pair(&mut self, bulk: BulkId, shelf: Shelf, id: MessageId, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let discard = move || store.discard(shelf, &[id]);
        self.off_thread(ctx, discard, move |actor, discarded, _| {
            if let Err(error) = discarded {
                // The next start finds the message in both places, and drops the pair.
                tracing::warn!(%id, %error, "recovered, but its files are still on the shelf");
            }
            actor.give_back(id, Status::Frozen);
            actor.bulk_done(bulk, Ok(()));
        });
    }
}

/// As it was, frozen.
fn again(message: &Message, now: Timestamp) -> NewMessage {
    let expire_after = message.state.expires_at.map(|at| at.since(message.spooled_at));
    NewMessage {
        id: message.id,
        section: Section {
            envelope: message.envelope.as_ref().clone(),
            next_hops: Arc::clone(&message.next_hops),
            origin: message.origin,
            retry: RetryPolicy {
                intervals: message.state.schedule.intervals.clone(),
                repeat_last: message.state.schedule.repeat_last,
                expire_after,
            },
        },
        status: Status::Frozen,
        frozen: None,
        in_flight: None,
        state: Some(Box::new(frozen(message.state.clone(), now))),
    }
}

impl Handler<Quarantine> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<MessageId>, AddError>>;

    fn handle(&mut self, quarantine: Quarantine, ctx: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        let started = quarantine
            .mail
            .submission
            .and_then(|mail| self.quarantine(quarantine.reason, mail, reply, ctx));
        match started {
            Ok(()) => {
                let supervision = self.supervision.clone();
                Box::pin(async move { answer.await.unwrap_or_else(|_| Err(supervision.add_error())) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

type AddReply = oneshot::Sender<Result<Vec<MessageId>, AddError>>;

impl SpoolActor {
    fn quarantine(
        &mut self,
        reason: String,
        mail: Submission,
        reply: AddReply,
        ctx: &mut Context<Self>,
    ) -> Result<(), AddError> {
        if self.supervision.is_over() {
            return Err(self.supervision.add_error());
        }
        self.validate(&mail)?;
        let held = self.charge(&mail)?;
        let now = self.now();
        let pairs = self.pairs(&reason, mail, now);
        let kind = EventKind::Quarantined(reason);
        let events = pairs
            .iter()
            .map(|(shelved, _)| self.tell(kind.clone(), &shelved.message))
            .collect();
        let ids = pairs.iter().map(|(shelved, _)| shelved.message.id).collect();
        let store = Arc::clone(&self.store);
        let shelve = move || (lay_all(&store, &pairs), held);
        self.off_thread(ctx, shelve, move |actor, (laid, held), _| match laid {
            Ok(()) => actor.commit(
                Change::Note { events },
                Tag::Quarantined {
                    reply,
                    ids,
                    _held: held,
                },
                true,
            ),
            // Whoever asked may have stopped waiting.
            Err(error) => drop(reply.send(Err(add_error(error)))),
        });
        Ok(())
    }

    fn pairs(&mut self, reason: &str, mail: Submission, now: Timestamp) -> Vec<(Shelved, Bytes)> {
        let ids: Vec<MessageId> = mail.sections.iter().map(|_| self.ids.next(now)).collect();
        let body_size = u64::try_from(mail.body.len()).unwrap_or(u64::MAX);
        let related: Arc<[MessageId]> = mail.related.iter().chain(&ids).copied().collect();
        let one = |(section, id): (Section, &MessageId)| {
            let state = MessageState::new(&section, Status::Frozen, now);
            let message = Message {
                id: *id,
                parent: mail.parent,
                related: Related::shared(Arc::clone(&related), *id),
                flows: mail.flows.clone(),
                spooled_at: now,
                next_hops: section.next_hops,
                origin: section.origin,
                envelope: Arc::new(section.envelope),
                body_size,
                state,
            };
            let reason = Some(reason.to_owned());
            (
                Shelved {
                    message,
                    at: now,
                    reason,
                },
                mail.body.clone(),
            )
        };
        mail.sections.into_iter().zip(&ids).map(one).collect()
    }
}

/// All of them, or none.
fn lay_all(store: &Store, pairs: &[(Shelved, Bytes)]) -> Result<(), StoreError> {
    let laid: Result<(), StoreError> = store.shelve(Shelf::Quarantine, pairs).into_iter().collect();
    if laid.is_err() {
        let ids: Vec<MessageId> = pairs.iter().map(|(shelved, _)| shelved.message.id).collect();
        store.discard(Shelf::Quarantine, &ids)?;
    }
    laid
}

impl Handler<Purge> for SpoolActor {
    type Result = ResponseFuture<Result<Outcome, SpoolError>>;

    fn handle(&mut self, purge: Purge, ctx: &mut Context<Self>) -> Self::Result {
        if self.is_loading() {
            return self.once_loaded(purge, ctx.address());
        }
        if let Err(error) = self.alive() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (store, now) = (Arc::clone(&self.store), self.now());
        let (reply, purged) = oneshot::channel();
        // Whoever asked may have stopped waiting; it is done all the same.
        self.off_thread(
            ctx,
            move || purge_now(&store, purge, now),
            |_, outcome, _| drop(reply.send(outcome)),
        );
        let supervision = self.supervision.clone();
        Box::pin(async move { purged.await.unwrap_or_else(|_| Err(supervision.error())) })
    }
}

/// A pair that cannot be read is left alone: nobody knows how old it is.
fn purge_now(store: &Store, purge: Purge, now: Timestamp) -> Result<Outcome, SpoolError> {
    let ids: Option<HashSet<MessageId>> = purge.ids.map(|ids| ids.into_iter().collect());
    let mut outcome = Outcome::default();
    let mut after = None;
    loop {
        let page = store
            .list_shelf(Shelf::Removed, after, PAGE)
            .map_err(operation_error)?;
        let Some((last, _)) = page.last() else {
            return Ok(outcome);
        };
        after = Some(*last);
        let mut old = Vec::new();
        for (id, shelved) in page {
            if ids.as_ref().is_some_and(|ids| !ids.contains(&id)) {
                continue;
            }
            match shelved {
                Ok(shelved) if now.since(shelved.at) >= purge.older_than => old.push(id),
                Ok(_) => {}
                Err(reason) => outcome.errors.push(SpoolError::Unreadable { id, reason }),
            }
        }
        store.discard(Shelf::Removed, &old).map_err(operation_error)?;
        outcome.done += old.len();
        tracing::debug!(purged = old.len(), "removed messages deleted for good");
    }
}
