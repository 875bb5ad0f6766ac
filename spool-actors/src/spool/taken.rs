//! What an operation does to the messages it has taken: reads them off the actor's thread, writes the change, and gives them
//! back as the disk has them. Once the spool has ended it writes nothing any more: whoever asked was told so.

use super::SpoolActor;
use super::bulk::{BulkId, Work, operation_error};
use super::commit::Tag;
use super::returning::NewNotice;
use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};
use bytes::Bytes;
use spool_core::store::{Change, Finish, Shelf, Shelved, Store, StoreError};
use spool_core::{EventKind, Frozen, Held, Message, MessageId, Status, Timestamp};
use std::sync::Arc;

/// A message that an operation has taken, and what it was waiting for.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: MessageId,
    pub(super) before: Status,
}

impl SpoolActor {
    /// Reads what was taken, and for a remove lays it on the shelf, off this thread.
    pub(super) fn read_taken(
        &mut self,
        bulk_id: BulkId,
        work: Work,
        taken: Vec<Taken>,
        ctx: &mut Context<Self>,
    ) {
        let with_bodies = work.reads_bodies();
        let footprints = taken
            .iter()
            .map(|taken| self.queue.footprint(taken.id, with_bodies));
        let bytes = footprints.fold(0, u64::saturating_add);
        // What can be read again makes room for what a person asks for.
        self.queue.let_go_of_all();
        let wait = self.budget.wait(bytes);
        ctx.spawn(
            wrap_future(wait).map(move |held, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.guarded(ctx, |actor, ctx| {
                    actor.read_charged(bulk_id, work, taken, held, ctx)
                });
            }),
        );
    }

    fn read_charged(
        &mut self,
        bulk_id: BulkId,
        work: Work,
        taken: Vec<Taken>,
        mut held: Held,
        ctx: &mut Context<Self>,
    ) {
        if let Err(error) = self.alive() {
            for taken in taken {
                self.give_back(taken.id, taken.before);
                self.bulk_done(bulk_id, Err(error.clone()));
            }
            return;
        }
        let (store, now) = (Arc::clone(&self.store), self.now());
        let (shelve, with_bodies) = (matches!(work, Work::Remove), work.reads_bodies());
        let read = move || {
            let mut row = store.in_a_row();
            let messages: Vec<_> = taken.iter().map(|taken| row.load(taken.id)).collect();
            // Known now: it may be more than was expected.
            let whole = |message: &Message| {
                let body = if with_bodies { message.body_size } else { 0 };
                message.footprint().saturating_add(body)
            };
            held.resize(messages.iter().flatten().map(whole).fold(0, u64::saturating_add));
            let messages = match shelve {
                true => lay_on_shelf(&store, messages, now),
                false => messages,
            };
            // On the shelf nobody needs it any more.
            let with_body = |message: Message| {
                let wanted = with_bodies && !shelve;
                let body = if wanted {
                    store.body(message.id)?
                } else {
                    Bytes::new()
                };
                Ok((message, body))
            };
            let messages: Vec<_> = messages
                .into_iter()
                .map(|message| message.and_then(with_body))
                .collect();
            (taken, messages, Arc::new(held))
        };
        self.off_thread(ctx, read, move |actor, (taken, messages, held), ctx| {
            let mut laid = Vec::new();
            for (taken, message) in taken.into_iter().zip(messages) {
                let error = match (message, actor.alive()) {
                    (Ok(read), Ok(())) => {
                        actor.queue.weighed(taken.id, read.0.footprint());
                        actor.change_taken(bulk_id, &work, &taken, read, &held);
                        continue;
                    }
                    (Ok(_), Err(ended)) => {
                        laid.push(taken.id);
                        ended
                    }
                    (Err(error), _) => operation_error(error),
                };
                actor.give_back(taken.id, taken.before);
                actor.bulk_done(bulk_id, Err(error));
            }
            if shelve && !laid.is_empty() {
                actor.take_off(Shelf::Removed, laid, ctx);
            }
        });
    }

    /// Writes the change. Its share of `held` is in hand until the disk has answered for all of the step.
    fn change_taken(
        &mut self,
        bulk: BulkId,
        work: &Work,
        taken: &Taken,
        (mut message, body): (Message, Bytes),
        held: &Arc<Held>,
    ) {
        let (id, now) = (taken.id, self.now());
        let (change, after) = match work {
            Work::Freeze => {
                let frozen = Some(Box::new(Frozen::held(now, None)));
                message.state.set_status(Status::Frozen, frozen.clone());
                let events = vec![self.tell(EventKind::Frozen, &message)];
                let change = Change::Mark {
                    id,
                    status: Status::Frozen,
                    frozen,
                    in_flight: None,
                    events,
                };
                (change, Some(Status::Frozen))
            }
            Work::Bounce(reason) => {
                return self.end_taken(bulk, Some(reason), taken, (message, body), held);
            }
            Work::Expire => return self.end_taken(bulk, None, taken, (message, body), held),
            Work::Reroute(to) => return self.reroute_taken(bulk, to, taken, message, held),
            Work::SendNow(extra) => {
                if !message.state.failed.is_empty() {
                    // Recipients that had failed may have another route.
                    self.queue.make_stale(id);
                }
                let frozen = taken.before == Status::Frozen;
                let events = if frozen {
                    vec![self.tell(EventKind::Unfrozen, &message)]
                } else {
                    Vec::new()
                };
                let state = Box::new(message.state.send_now(extra, now));
                (Change::State { id, state, events }, Some(Status::SendAt(now)))
            }
            Work::Remove | Work::Recover(_) => {
                let events = vec![self.tell(EventKind::Removed, &message)];
                (
                    Change::Finish {
                        id,
                        how: Finish::Removed,
                        events,
                    },
                    None,
                )
            }
        };
        let before = taken.before;
        self.commit(
            change,
            Tag::Changed {
                bulk,
                id,
                before,
                after,
                notice: None,
                _held: Arc::clone(held),
            },
            true,
        );
    }

    /// The disk has answered for a message that an operation took.
    pub(super) fn changed(
        &mut self,
        bulk: BulkId,
        id: MessageId,
        before: Status,
        (after, notice): (Option<Status>, Option<Box<NewNotice>>),
        (result, removed): (Result<(), StoreError>, bool),
        ctx: &mut Context<Self>,
    ) {
        let now = self.now();
        match (&result, &notice) {
            (Ok(()), Some(notice)) => self.notice_spooled(notice),
            (Err(_), Some(notice)) => self.notice_not_spooled(notice),
            (_, None) => {}
        }
        if result.is_err() && removed {
            self.take_off(Shelf::Removed, vec![id], ctx);
        }
        match (&result, after) {
            (Ok(()), Some(status)) => {
                self.give_back(id, status);
                if status != Status::Frozen {
                    self.queue.hurry(id, now);
                }
            }
            (Ok(()), None) => {
                self.queue.finished(id);
                self.unparked.push(id);
            }
            (Err(_), _) => self.give_back(id, before),
        }
        self.bulk_done(bulk, result.map_err(operation_error));
    }

    /// Gives a message back that an operation has had, to wait for `status`; operations that wait for it go on.
    pub(super) fn give_back(&mut self, id: MessageId, status: Status) {
        let now = self.now();
        self.queue.give_back(id, status, now);
        self.unparked.push(id);
    }
}

/// Durable on the shelf before the journal is told that they are gone. What fails fails alone.
fn lay_on_shelf(
    store: &Store,
    messages: Vec<Result<Message, StoreError>>,
    at: Timestamp,
) -> Vec<Result<Message, StoreError>> {
    let with_body = |message: Message| {
        let body = store.body(message.id)?;
        let reason = None;
        Ok((Shelved { message, at, reason }, body))
    };
    let mut pairs = Vec::with_capacity(messages.len());
    let unread: Vec<Option<StoreError>> = messages
        .into_iter()
        .map(|message| match message.and_then(with_body) {
            Ok(pair) => {
                pairs.push(pair);
                None
            }
            Err(error) => Some(error),
        })
        .collect();
    let mut laid = store
        .shelve(Shelf::Removed, &pairs)
        .into_iter()
        .zip(pairs)
        .map(|(laid, (shelved, _))| laid.map(|()| shelved.message));
    unread
        .into_iter()
        .filter_map(|error| error.map_or_else(|| laid.next(), |error| Some(Err(error))))
        .collect()
}
