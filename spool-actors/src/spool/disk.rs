//! Carries out the engine's work on the disk, on a thread that may block.

use super::{Outside, messages::Outcome};
use crate::engine::{Content, DiskJob, Done, Fetched, Taken, Why, Work, groups, may_fail};
use crate::errors::operation_error;
use bytes::Bytes;
use spool_core::store::{Archive, Archived, Store, StoreError};
use spool_core::{Budget, Held, Message, MessageId, RouteGroup, Routing, SpoolError, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Pairs that are read at once by a purge.
const PAGE: usize = 1000;

/// Does one job. Every kind of job has one arm.
pub(super) fn run(store: &Store, budget: &Budget, job: DiskJob<Outside>) -> Done<Outside> {
    match job {
        DiskJob::Load(wanted) => {
            let one = |(id, held)| (id, read_content(store, id, held));
            Done::Loaded(wanted.into_iter().map(one).collect())
        }
        DiskJob::ReadTaken {
            bulk,
            work,
            taken,
            held,
            at,
        } => {
            let (read, held) = read_taken(store, &work, taken, held, at);
            Done::ReadTaken {
                bulk,
                work,
                read,
                held,
            }
        }
        DiskJob::ReadUnattended { step, held, bodies } => read_unattended(store, step, held, bodies),
        DiskJob::Route {
            ids,
            routing,
            generation,
        } => Done::Routed {
            routes: routes(store, ids, &routing),
            generation,
        },
        DiskJob::ReadWhole(wanted) => {
            let one = |(id, before, held)| (id, before, read_content(store, id, held));
            Done::ReadWhole(wanted.into_iter().map(one).collect())
        }
        DiskJob::ArchivePresented {
            archived,
            body,
            events,
        } => Done::ArchivedPresented {
            id: archived.message.id,
            laid: store
                .archive(Archive::Removed, &[(*archived, body)])
                .into_iter()
                .collect(),
            events,
        },
        DiskJob::Fetch { bulk, archive, ids } => {
            let one = |id| fetch(store, budget, archive, id);
            let pairs = ids.into_iter().map(one).collect();
            Done::Fetched { bulk, archive, pairs }
        }
        DiskJob::DropPair { bulk, archive, id } => Done::DroppedPair {
            bulk,
            id,
            discarded: store.discard(archive, &[id]),
        },
        DiskJob::TakeOff { archive, ids, back } => Done::TakenOff {
            archive,
            discarded: store.discard(archive, &ids),
            back,
        },
        DiskJob::Quarantine {
            pairs,
            events,
            held,
            reply,
        } => Done::Quarantined {
            ids: pairs.iter().map(|(archived, _)| archived.message.id).collect(),
            laid: lay_all(store, &pairs),
            events,
            held,
            reply,
        },
        DiskJob::Purge {
            older_than,
            ids,
            at,
            reply,
        } => Done::Purged {
            outcome: purge(store, older_than, ids, at),
            reply,
        },
        DiskJob::Keep(learned) => {
            keep(store, &learned);
            Done::Kept
        }
    }
}

/// Writes what was learned. A failure is logged only: it costs learning it again.
pub(super) fn keep(store: &Store, learned: &[spool_core::LearnedDestination]) {
    if let Err(error) = store.keep_destinations(learned) {
        tracing::warn!(%error, "what was learned of destinations is not kept");
    }
}

/// Where the recipients of each of these messages go under `routing`.
fn routes(
    store: &Store,
    ids: Vec<MessageId>,
    routing: &Routing,
) -> Vec<(MessageId, Result<Vec<RouteGroup>, StoreError>)> {
    let mut row = store.sequential();
    let route = |id| (id, row.load(id).map(|message| groups(routing, &message)));
    ids.into_iter().map(route).collect()
}

/// Reads a message from the disk into the memory that was granted for it.
fn read_content(store: &Store, id: MessageId, mut held: Held) -> Result<Box<Content>, StoreError> {
    let message = store.load(id)?;
    let body = store.body(id)?;
    let body = held.split(message.body_size).carried_by(body);
    // Known now, and there: it may be more than was expected.
    held.resize(message.footprint());
    Ok(Box::new(Content::new(message, body, held)))
}

type ReadTaken = (Vec<(Taken, Result<(Message, Bytes), StoreError>)>, Arc<Held>);

fn read_taken(store: &Store, work: &Work, taken: Vec<Taken>, mut held: Held, at: Timestamp) -> ReadTaken {
    let (archive, with_bodies) = (matches!(work, Work::Remove), work.reads_bodies());
    let mut row = store.sequential();
    let messages: Vec<_> = taken.iter().map(|taken| row.load(taken.id)).collect();
    // Known now: it may be more than was expected.
    let whole = |message: &Message| {
        let body = if with_bodies { message.body_size } else { 0 };
        message.footprint().saturating_add(body)
    };
    held.resize(messages.iter().flatten().map(whole).fold(0, u64::saturating_add));
    let messages = match archive {
        true => move_to_archive(store, messages, at),
        false => messages,
    };
    // A message in the archive needs no body in memory.
    let with_body = |message: Message| {
        let body = match with_bodies && !archive {
            true => store.body(message.id)?,
            false => Bytes::new(),
        };
        Ok((message, body))
    };
    let messages = messages.into_iter().map(|message| message.and_then(with_body));
    (taken.into_iter().zip(messages).collect(), Arc::new(held))
}

fn read_unattended(
    store: &Store,
    step: Vec<(MessageId, Why)>,
    mut held: Held,
    bodies: bool,
) -> Done<Outside> {
    let mut row = store.sequential();
    let messages: Vec<_> = step
        .into_iter()
        .map(|(id, why)| (id, why, row.load(id)))
        .collect();
    let with_body = |(id, why, message): (MessageId, Why, Result<Message, StoreError>)| {
        let read = message.and_then(|message| {
            let body = match bodies && may_fail(&why, &message) {
                true => store.body(id)?,
                false => Bytes::new(),
            };
            Ok((message, body))
        });
        (id, why, read)
    };
    let read: Vec<_> = messages.into_iter().map(with_body).collect();
    // Known now: it may be more than was expected.
    let all = read.iter().filter_map(|(_, _, read)| read.as_ref().ok());
    let bytes = all.map(|(message, body)| {
        let body = u64::try_from(body.len()).unwrap_or(u64::MAX);
        message.footprint().saturating_add(body)
    });
    held.resize(bytes.fold(0, u64::saturating_add));
    Done::ReadUnattended { read, held }
}

fn fetch(store: &Store, budget: &Budget, archive: Archive, id: MessageId) -> Fetched {
    let size = store.archived_size(archive, id).map_err(operation_error)?;
    // Before it is read.
    let mut held = budget.hold_first(size).ok_or(SpoolError::Busy)?;
    let (archived, body) = store.archived(archive, id).map_err(operation_error)?;
    held.resize(archived.message.footprint().saturating_add(size));
    Ok((Box::new(archived), body, held))
}

/// Moves messages to the archive, durably, before the journal records their end. Each message fails by itself.
fn move_to_archive(
    store: &Store,
    messages: Vec<Result<Message, StoreError>>,
    at: Timestamp,
) -> Vec<Result<Message, StoreError>> {
    let with_body = |message: Message| {
        let body = store.body(message.id)?;
        let reason = None;
        Ok((Archived { message, at, reason }, body))
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
        .archive(Archive::Removed, &pairs)
        .into_iter()
        .zip(pairs)
        .map(|(laid, (archived, _))| laid.map(|()| archived.message));
    unread
        .into_iter()
        .filter_map(|error| error.map_or_else(|| laid.next(), |error| Some(Err(error))))
        .collect()
}

/// All of them, or none.
fn lay_all(store: &Store, pairs: &[(Archived, Bytes)]) -> Result<(), StoreError> {
    let laid: Result<(), StoreError> = store.archive(Archive::Quarantine, pairs).into_iter().collect();
    if laid.is_err() {
        let ids: Vec<MessageId> = pairs.iter().map(|(archived, _)| archived.message.id).collect();
        store.discard(Archive::Quarantine, &ids)?;
    }
    laid
}

/// Deletes old pairs from the archive. A pair that cannot be read stays, because its age is unknown.
fn purge(
    store: &Store,
    older_than: Duration,
    ids: Option<Vec<MessageId>>,
    now: Timestamp,
) -> Result<Outcome, SpoolError> {
    let ids: Option<HashSet<MessageId>> = ids.map(|ids| ids.into_iter().collect());
    let mut outcome = Outcome::default();
    let mut after = None;
    loop {
        let page = store
            .list_archive(Archive::Removed, after, PAGE)
            .map_err(operation_error)?;
        let Some((last, _)) = page.last() else {
            return Ok(outcome);
        };
        after = Some(*last);
        let mut old = Vec::new();
        for (id, archived) in page {
            if ids.as_ref().is_some_and(|ids| !ids.contains(&id)) {
                continue;
            }
            match archived {
                Ok(archived) if now.since(archived.at) >= older_than => old.push(id),
                Ok(_) => {}
                Err(reason) => outcome.errors.push(SpoolError::Unreadable { id, reason }),
            }
        }
        store.discard(Archive::Removed, &old).map_err(operation_error)?;
        outcome.done += old.len();
        tracing::debug!(purged = old.len(), "removed messages deleted for good");
    }
}
