//! What the disk had no room for: ends of attempts, which are known and must be written down before anything else happens
//! to their messages.
//!
//! A full disk is no failed one: the change is offered again each second, and at the end. There are no more of them than
//! sessions were running, because no attempt begins before its begin is on disk.

use super::SpoolActor;
use super::commit::Tag;
use spool_core::store::{Change, Shelf, StoreError};
use spool_core::{MessageId, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a message waits whose attempt could not begin because the disk was full.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    changes: BTreeMap<MessageId, (Change, Tag, StoreError)>,
    /// Those whose end was found to have no room, until it is written: the log tells of each once.
    told: BTreeSet<MessageId>,
}

impl Unwritten {
    /// Why the end of this message's attempt is not on disk.
    pub(super) fn error(&self, id: MessageId) -> Option<&StoreError> {
        self.changes.get(&id).map(|(_, _, error)| error)
    }

    /// The end of this message's attempt is on disk.
    pub(super) fn written(&mut self, id: MessageId) {
        self.told.remove(&id);
    }
}

/// Whether the store will take nothing any more.
pub(super) const fn is_final(error: &StoreError) -> bool {
    !matches!(error, StoreError::Full(_) | StoreError::Shortage(_))
}

impl SpoolActor {
    /// Keeps the end of an attempt until there is room for it. Operations on the message learn why they cannot go on.
    pub(super) fn write_later(&mut self, id: MessageId, change: Change, tag: Tag, error: &StoreError) {
        if self.unwritten.told.insert(id) {
            tracing::warn!(%id, %error, "no room to record the end of an attempt; it is tried again each second");
        }
        self.unwritten.changes.insert(id, (change, tag, error.clone()));
        self.stuck(id, error);
    }

    /// Offers everything to the disk again.
    pub(super) fn write_again(&mut self) {
        for (change, tag, _) in std::mem::take(&mut self.unwritten.changes).into_values() {
            self.commit(change, tag, false);
        }
    }

    /// Its attempt could not begin, for want of room on the disk or of descriptors: it waits, and is due again by and by.
    pub(super) fn begin_later(&mut self, id: MessageId, error: &StoreError) {
        tracing::warn!(%id, %error, "an attempt cannot begin now; it waits");
        let until = self.now().after(NO_ROOM_PAUSE);
        self.queue.waits(id, Status::SendAt(until));
        self.unparked.push(id);
    }

    /// The journal keeps these messages after all, or was never told of them: their pairs must not stay on the shelf.
    pub(super) fn take_off(&mut self, shelf: Shelf, ids: Vec<MessageId>, ctx: &mut actix::Context<Self>) {
        let store = std::sync::Arc::clone(&self.store);
        let discard = move || store.discard(shelf, &ids);
        self.off_thread(ctx, discard, move |_, discarded, _| {
            if let Err(error) = discarded {
                tracing::warn!(%error, shelf = shelf.name(), "files of an operation that failed stay on the shelf");
            }
        });
    }
}
