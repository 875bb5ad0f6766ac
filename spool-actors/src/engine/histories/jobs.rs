//! Work on the disk of a history.

use super::disk::Disk;
use crate::engine::testing::Paper;
use crate::engine::{Content, DiskJob, Done, Work, groups};
use bytes::Bytes;
use spool_core::store::{Archived, StoreError};
use spool_core::{Budget, Message, MessageId, SpoolError};
use std::sync::Arc;

impl Disk {
    fn load(&self, id: MessageId) -> Result<(Message, Bytes), StoreError> {
        let found = self.messages.get(&id).cloned();
        found.ok_or(StoreError::NoSuchMessage(id))
    }

    fn content(&self, id: MessageId, mut held: spool_core::Held) -> Result<Box<Content>, StoreError> {
        let (message, body) = self.load(id)?;
        let body = held.split(message.body_size).carried_by(body);
        held.resize(message.footprint());
        Ok(Box::new(Content::new(message, body, held)))
    }

    /// Does what the engine wants done on the disk.
    pub(super) fn run(&mut self, budget: &Budget, job: DiskJob<Paper>) -> Done<Paper> {
        match job {
            DiskJob::Load(wanted) => {
                let one = |(id, held)| (id, self.content(id, held));
                Done::Loaded(wanted.into_iter().map(one).collect())
            }
            DiskJob::ReadTaken {
                bulk,
                work,
                taken,
                held,
                at,
            } => {
                let read: Vec<_> = taken
                    .into_iter()
                    .map(|taken| {
                        let read = self.load(taken.id);
                        (taken, read)
                    })
                    .collect();
                if matches!(work, Work::Remove) {
                    for (message, body) in read.iter().filter_map(|(_, read)| read.as_ref().ok()) {
                        self.archive(message.clone(), body.clone(), at);
                    }
                }
                let held = Arc::new(held);
                Done::ReadTaken {
                    bulk,
                    work,
                    read,
                    held,
                }
            }
            DiskJob::ReadUnattended { step, held, .. } => {
                let one = |(id, why)| (id, why, self.load(id));
                let read = step.into_iter().map(one).collect();
                Done::ReadUnattended { read, held }
            }
            DiskJob::Route {
                ids,
                routing,
                generation,
            } => {
                let route = |id| (id, self.load(id).map(|(message, _)| groups(&routing, &message)));
                let routes = ids.into_iter().map(route).collect();
                Done::Routed { routes, generation }
            }
            DiskJob::ReadWhole(wanted) => {
                let one = |(id, before, held)| (id, before, self.content(id, held));
                Done::ReadWhole(wanted.into_iter().map(one).collect())
            }
            DiskJob::ArchivePresented {
                archived,
                body,
                events,
            } => {
                let id = archived.message.id;
                self.removed
                    .insert(id, (*archived, Bytes::copy_from_slice(&body)));
                let laid = Ok(());
                Done::ArchivedPresented { id, laid, events }
            }
            DiskJob::Fetch { bulk, archive, ids } => {
                let fetch = |id| {
                    let (archived, body) = self.removed.get(&id).ok_or(SpoolError::NoSuchMessage(id))?;
                    let held = budget.hold_first(1).ok_or(SpoolError::Busy)?;
                    Ok((Box::new(archived.clone()), body.clone(), held))
                };
                let pairs = ids.into_iter().map(fetch).collect();
                Done::Fetched { bulk, archive, pairs }
            }
            DiskJob::DropPair { bulk, id, .. } => {
                self.removed.remove(&id);
                let discarded = Ok(());
                Done::DroppedPair { bulk, id, discarded }
            }
            DiskJob::TakeOff { archive, ids, back } => {
                for id in ids {
                    self.removed.remove(&id);
                }
                let discarded = Ok(());
                Done::TakenOff {
                    archive,
                    discarded,
                    back,
                }
            }
            DiskJob::Quarantine {
                pairs,
                events,
                held,
                reply,
            } => Done::Quarantined {
                ids: pairs.iter().map(|(archived, _)| archived.message.id).collect(),
                laid: Ok(()),
                events,
                held,
                reply,
            },
            DiskJob::Purge { reply, .. } => Done::Purged {
                outcome: Ok(crate::outcome::Outcome::default()),
                reply,
            },
            DiskJob::Keep(_) => Done::Kept,
        }
    }

    fn archive(&mut self, message: Message, body: Bytes, at: spool_core::Timestamp) {
        let id = message.id;
        let reason = None;
        self.removed.insert(id, (Archived { message, at, reason }, body));
    }
}
