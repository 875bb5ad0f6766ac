//! Carries out the engine's work on the disk, on a thread that may block.

use super::Outside;
use super::messages::{Outcome, Purge};
use crate::engine::{Content, DiskJob, Done, Fetched, ReadFor, Work, groups};
use crate::errors::operation_error;
use bytes::Bytes;
use spool_core::store::{Archive, Archived, Store, StoreError};
use spool_core::{Budget, Held, Message, MessageId, RouteGroup, Routing, SpoolError, Timestamp};
use std::collections::HashSet;

/// Pairs that are read at once by a purge.
const PAGE: usize = 1000;

/// Does one job. Every kind of job has one arm.
pub(super) fn run(store: &Store, budget: &Budget, job: DiskJob<Outside>) -> Done<Outside> {
    match job {
        DiskJob::Read(read_for, wanted) => {
            let read = read(store, &read_for, wanted);
            Done::Read(read_for, read)
        }
        DiskJob::Route {
            ids,
            routing,
            generation,
        } => Done::Routed {
            routes: routes(store, ids, &routing),
            generation,
        },
        DiskJob::Fetch { work, archive, ids } => {
            let one = |id| fetch(store, budget, archive, id);
            let pairs = ids.into_iter().map(one).collect();
            Done::Fetched { work, archive, pairs }
        }
        DiskJob::Discard {
            archive,
            ids,
            recovered,
        } => Done::Discarded {
            discarded: store.discard(archive, &ids),
            archive,
            ids,
            recovered,
        },
        DiskJob::Quarantine(pairs, quarantining) => Done::Quarantined(lay_all(store, &pairs), quarantining),
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
    let mut load = store.sequential();
    let route = |id| (id, load(id).map(|message| groups(routing, &message)));
    ids.into_iter().map(route).collect()
}

type Read = Vec<(MessageId, Result<Box<Content>, StoreError>)>;

/// Reads messages into the memory that was granted for each. Those that are to be removed are moved to the archive.
fn read(store: &Store, read_for: &ReadFor, wanted: Vec<(MessageId, Held)>) -> Read {
    let bodies = !matches!(read_for, ReadFor::Work { bodies: false, .. });
    let mut load = store.sequential();
    let mut one = |id, mut held: Held| {
        let message = load(id)?;
        let body = match bodies && !is_first_interruption(read_for, &message) {
            true => held.split(message.body_size).carried_by(store.body(id)?),
            false => Bytes::new(),
        };
        // Known now, and there: it may be more than was expected.
        held.resize(message.footprint());
        Ok(Box::new(Content::new(message, body, held)))
    };
    let read = wanted.into_iter().map(|(id, held)| (id, one(id, held))).collect();
    match read_for {
        ReadFor::Work { work, at, .. } if work.removes() => {
            let reason = matches!(work, Work::RemoveForHook).then_some("removed by the presend hook");
            move_to_archive(store, read, reason, *at)
        }
        ReadFor::Work { .. } | ReadFor::Attempts => read,
    }
}

/// The first interruption of a message is never the end of a recipient, so that no notice needs the body. It is recorded even if the body
/// is damaged.
fn is_first_interruption(read_for: &ReadFor, message: &Message) -> bool {
    let of_interrupted = matches!(
        read_for,
        ReadFor::Work {
            work: Work::Interrupted,
            ..
        }
    );
    of_interrupted && !message.state.attempts.ended_interrupted()
}

fn fetch(store: &Store, budget: &Budget, archive: Archive, id: MessageId) -> Fetched {
    let size = store.archived_size(archive, id).map_err(operation_error)?;
    // Before it is read.
    let mut held = budget.hold_first(size).ok_or(SpoolError::Busy)?;
    let (archived, body) = store.archived(archive, id).map_err(operation_error)?;
    held.resize(archived.message.footprint().saturating_add(size));
    Ok((Box::new(archived), body, held))
}

/// Moves messages to the archive, durably, before the journal records their end. Each message fails by itself. What is in the archive needs no
/// body in memory.
fn move_to_archive(store: &Store, mut read: Read, reason: Option<&str>, at: Timestamp) -> Read {
    let mut pairs = Vec::with_capacity(read.len());
    for content in read.iter_mut().filter_map(|(_, content)| content.as_mut().ok()) {
        let archived = Archived {
            message: content.message.clone(),
            at,
            reason: reason.map(str::to_owned),
        };
        pairs.push((archived, std::mem::take(&mut content.body)));
    }
    let mut laid = store.archive(Archive::Removed, &pairs).into_iter();
    for (_, content) in read.iter_mut().filter(|(_, content)| content.is_ok()) {
        if let Some(Err(error)) = laid.next() {
            *content = Err(error);
        }
    }
    read
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
pub(super) fn purge(
    store: &Store,
    Purge { older_than, ids }: Purge,
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
