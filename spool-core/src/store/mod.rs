//! The file layer: a write-ahead journal with group commit.
//!
//! [`Store::commit`] answers only after everything it was given is synced, with the directory wherever a file was
//! created. Nothing is ever half there: one [`Change`] is one atomic frame. The store decides nothing about mail, has
//! no thread and no clock of its own, and knows no async: callers bring one writer and as many readers as they like.

mod change;
mod error;

pub use change::{Addition, Change, Finish, NewMessage};
pub use error::{OpenError, StoreError};

use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::message::{Message, Status};
use crate::next_hop::NextHop;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Limits of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes of one journal segment. Default 64 MiB; never below 64 KiB.
    pub segment_size: u64,
    /// Free bytes on the file system below which adds answer `Full`. Default 256 MiB.
    pub min_free_space: u64,
    /// Messages above which adds answer `Full`; 0: no limit.
    pub max_messages: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            min_free_space: 256 << 20,
            max_messages: 0,
        }
    }
}

/// A message that was there at the start.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Its name.
    pub id: MessageId,
    /// What it waits for.
    pub status: Status,
    /// Begin of an attempt whose end was never recorded: in doubt.
    pub in_flight: Option<Timestamp>,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// Next hops, shared between messages with the same ones.
    pub next_hops: Arc<[NextHop]>,
    /// Bytes of its body.
    pub body_size: u64,
}

/// What recovery set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file it was found in, relative to the spool.
    pub file: String,
    /// The first damaged byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// What was wrong.
    pub reason: String,
    /// Where the bytes are kept now, relative to the spool.
    pub kept_as: String,
}

/// What a start found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Every live message.
    pub messages: Vec<Recovered>,
    /// Bytes cut from the torn end of the last segment: a write that was never answered.
    pub torn_bytes: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
    /// The highest message id ever seen in the journal.
    pub last_id: Option<MessageId>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Calls of commit that wrote something.
    pub commits: u64,
    /// Changes made durable.
    pub changes: u64,
    /// fsync and fdatasync calls, of files and directories.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Messages that are live now.
    pub messages: u64,
    /// Journal segments on disk now.
    pub segments: u64,
}

/// An open spool directory. One writer at a time inside [`Store::commit`]; reads run beside it.
#[derive(Debug)]
pub struct Store;

impl Store {
    /// Locks `dir`, making it when missing, and loads what is there.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(_dir: &Path, _options: &StoreOptions) -> Result<(Self, Recovery), OpenError> {
        todo!()
    }

    /// Writes `changes` in order with one sync, and answers for each. A `Full` add leaves nothing behind and does not
    /// touch the others; a failed write or sync fails all of them, and every commit after.
    pub fn commit(&self, _changes: &[Change]) -> Vec<Result<(), StoreError>> {
        todo!()
    }

    /// Whether an add of `size` bytes would find room now. Cheap and lock-free enough to ask for every MAIL.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`].
    pub fn admit(&self, _size: u64) -> Result<(), StoreError> {
        todo!()
    }

    /// A live message, without its body.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`], [`StoreError::Damaged`], [`StoreError::Failed`].
    pub fn load(&self, _id: MessageId) -> Result<Message, StoreError> {
        todo!()
    }

    /// Its body, checked.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn body(&self, _id: MessageId) -> Result<Bytes, StoreError> {
        todo!()
    }

    /// Counts since the start.
    pub fn stats(&self) -> StoreStats {
        todo!()
    }
}

/// The number of unsent messages in `dir`, frozen ones included. Needs no lock, and works beside a running spool.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool or cannot be read.
pub fn count_from_disk(_dir: &Path) -> Result<u64, OpenError> {
    todo!()
}

/// Every unsent message in `dir`, frozen ones included, in no order. Needs no lock, and works beside a running spool.
///
/// # Errors
/// As [`count_from_disk`].
pub fn status_from_disk(_dir: &Path, _each: &mut dyn FnMut(Message)) -> Result<(), OpenError> {
    todo!()
}
