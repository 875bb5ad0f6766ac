//! Work on the disk of a history.

use super::disk::Disk;
use crate::engine::testing::Paper;
use crate::engine::{Content, DiskJob, Done, ReadFor, Work, groups};
use bytes::Bytes;
use spool_core::store::{Archived, StoreError};
use spool_core::{Budget, Message, MessageId, SpoolError};

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
            DiskJob::Read(read_for, wanted) => {
                let one = |(id, held)| (id, self.content(id, held));
                let read: Vec<_> = wanted.into_iter().map(one).collect();
                if let ReadFor::Work { work, at, .. } = &read_for
                    && matches!(work, Work::Remove | Work::RemoveForHook)
                {
                    for content in read.iter().filter_map(|(_, read)| read.as_ref().ok()) {
                        let body = Bytes::copy_from_slice(&content.body);
                        self.archive(content.message.clone(), body, *at);
                    }
                }
                Done::Read(read_for, read)
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
            DiskJob::Fetch { work, archive, ids } => {
                let fetch = |id| {
                    let (archived, body) = self.removed.get(&id).ok_or(SpoolError::NoSuchMessage(id))?;
                    let held = budget.hold_first(1).ok_or(SpoolError::Busy)?;
                    Ok((Box::new(archived.clone()), body.clone(), held))
                };
                let pairs = ids.into_iter().map(fetch).collect();
                Done::Fetched { work, archive, pairs }
            }
            DiskJob::Discard {
                archive,
                ids,
                recovered,
            } => {
                for id in &ids {
                    self.removed.remove(id);
                }
                Done::Discarded {
                    archive,
                    ids,
                    recovered,
                    discarded: Ok(()),
                }
            }
            DiskJob::Quarantine(_, quarantining) => Done::Quarantined(Ok(()), quarantining),
        }
    }

    fn archive(&mut self, message: Message, body: Bytes, at: spool_core::Timestamp) {
        let id = message.id;
        let reason = None;
        self.removed.insert(id, (Archived { message, at, reason }, body));
    }
}
