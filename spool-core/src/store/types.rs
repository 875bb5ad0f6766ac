//! What a store is told at its start, and what it tells.

use crate::clock::Timestamp;
use crate::frozen::FrozenKind;
use crate::id::MessageId;
use crate::key::{Fingerprint, NameDigest};
use crate::message::{Message, RouteOrigin, Status};
use crate::next_hop::NextHop;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Limits of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes of one journal segment. Default 64 MiB; never below 64 KiB.
    pub segment_size: u64,
    /// Free bytes on the file system below which adds answer `Full`. Default 256 MiB.
    pub min_free_space: u64,
    /// Bytes of event log to keep; 0: none. Default 64 MiB.
    pub event_log_size: u64,
    /// How long the name of an add is remembered. Default 1 day.
    pub key_window: Duration,
    /// How many names of adds are remembered; of more, the oldest are forgotten. Default 1,000,000.
    pub max_keys: usize,
    /// How much finished mail the journal may hold beyond as much as there is live mail, in segments. Default 2.
    pub slack_segments: u32,
    /// Messages above which adds answer `Full`; 0: no limit.
    pub max_messages: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            min_free_space: 256 << 20,
            event_log_size: 64 << 20,
            key_window: Duration::from_secs(86_400),
            max_keys: 1_000_000,
            slack_segments: 2,
            max_messages: 0,
        }
    }
}

/// A message that was there at the start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovered {
    /// Its name.
    pub id: MessageId,
    /// What it waits for.
    pub status: Status,
    /// Why, when it is frozen.
    pub frozen: Option<FrozenKind>,
    /// Begin of an attempt whose end was never recorded: in doubt.
    pub in_flight: Option<Timestamp>,
    /// Whether its route may be another one than that attempt's: it was written after the attempt had begun.
    pub rerouted: bool,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// When it is given up.
    pub expires_at: Option<Timestamp>,
    /// Next hops, shared between messages with the same ones.
    pub next_hops: Arc<[NextHop]>,
    /// Where they come from.
    pub origin: RouteOrigin,
    /// How long it was to wait when its time was written, if that is known: on a clock that was set back since, it
    /// waits no longer than that.
    pub wait: Option<Duration>,
    /// Bytes of its body.
    pub body_size: u64,
    /// Bytes it takes in memory beside its body, about.
    pub footprint: u64,
}

/// What a start that finds this message tells of it. How long it was to wait is not known from the message alone.
impl From<&Message> for Recovered {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id,
            status: message.state.status,
            frozen: crate::frozen::frozen_kind(&message.state),
            in_flight: message.state.in_flight,
            rerouted: false,
            spooled_at: message.spooled_at,
            expires_at: message.state.expires_at,
            next_hops: Arc::clone(&message.next_hops),
            origin: message.origin,
            wait: None,
            body_size: message.body_size,
            footprint: message.footprint(),
        }
    }
}

/// What recovery set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file it was found in, relative to the spool.
    pub file: String,
    /// The first damaged byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// What was wrong.
    pub reason: String,
    /// Where the bytes are kept now, relative to the spool; of those that are missing nothing is, and it is the file itself.
    pub kept_as: String,
}

/// The name that a submitter gave to an add, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RememberedKey {
    /// The name.
    pub key: String,
    /// What was added, if that is known: lines of format 1 do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The ids of its messages.
    pub ids: Vec<MessageId>,
    /// When it was added.
    pub at: Timestamp,
}

impl RememberedKey {
    /// A name under which these messages were added.
    #[must_use]
    pub const fn new(
        key: String,
        fingerprint: Option<Fingerprint>,
        ids: Vec<MessageId>,
        at: Timestamp,
    ) -> Self {
        Self {
            key,
            fingerprint,
            ids,
            at,
        }
    }
}

/// What a start found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// Every live message.
    pub messages: Vec<Recovered>,
    /// Bytes cut from the torn end of the last segment: a write that was never answered.
    pub torn_bytes: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
    /// Names of adds within their window, oldest first. From [`Store::load_all`](crate::store::handle::Store::load_all) only those that were not in
    /// [`Begun::keys`](crate::store::open::Begun::keys).
    pub keys: Vec<RememberedKey>,
    /// The number of the last event.
    pub last_event: u64,
    /// The highest message id ever seen in the journal.
    pub last_id: Option<MessageId>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Messages that compaction copied forward.
    pub moved: u64,
    /// Frames read to load messages and bodies.
    pub frames_read: u64,
}

/// The keys that the key log holds, with their times: the journal's copies of them are not needed.
pub(super) type LoggedKeys = HashSet<(NameDigest, Timestamp)>;
