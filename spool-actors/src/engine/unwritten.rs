//! What the disk had no room for: ends of attempts, which are known and must be written down before anything else happens
//! to their messages.
//!
//! A full disk is no failed one: the change is offered again each second, and at the end. There are no more of them than
//! sessions were running, because no attempt starts before its start is on disk.

use super::tag::Tag;
use super::{Engine, World};
use spool_core::store::{Change, StoreError};
use spool_core::{MessageId, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a message waits when its attempt could not start because the disk was full.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// The changes by message, each with whether it delivered the message and why it was not written.
    changes: BTreeMap<MessageId, (Change, bool, StoreError)>,
    /// Messages whose end found no room on the disk, until it is written: each is logged once.
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

impl<W: World> Engine<W> {
    /// Keeps the end of an attempt until there is room for it. Operations that wait for the message fail with the reason.
    pub(super) fn write_later(&mut self, id: MessageId, change: Change, delivered: bool, error: StoreError) {
        if self.unwritten.told.insert(id) {
            tracing::warn!(%id, %error, "no room to record the end of an attempt; it is tried again each second");
        }
        self.stuck(id, &error);
        self.unwritten.changes.insert(id, (change, delivered, error));
    }

    /// Offers everything to the disk again.
    pub(super) fn write_again(&mut self) {
        for (change, delivered, _) in std::mem::take(&mut self.unwritten.changes).into_values() {
            let notice = None;
            self.commit(change, Tag::Settled { delivered, notice }, false);
        }
    }

    /// The attempt of a message could not start because the disk is full or descriptors are used up: it is due again after a pause.
    pub(super) fn begin_later(&mut self, id: MessageId, error: &StoreError) {
        tracing::warn!(%id, %error, "an attempt cannot begin now; it waits");
        let until = self.now.wall.after(NO_ROOM_PAUSE);
        self.queue.waits(id, Status::SendAt(until), self.now);
    }

    /// Something that comes before an attempt could not be written: it waits. Returns whether the store takes nothing any more, so that nothing
    /// may be sent: the message stays on disk and in memory until the spool is closed.
    pub(super) fn not_written(&mut self, id: MessageId, error: &StoreError) -> bool {
        let is_final = is_final(error);
        match is_final {
            true => self.stuck(id, error),
            false => self.begin_later(id, error),
        }
        is_final
    }
}
