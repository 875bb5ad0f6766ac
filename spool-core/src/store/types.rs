//! Options and results of a store.

use super::change::Addition;
use crate::clock::Timestamp;
use crate::frozen::FrozenKind;
use crate::id::MessageId;
use crate::key::{AddKey, Fingerprint, KeyDigest};
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
    /// How long an idempotency key is kept. Default 1 day.
    pub key_window: Duration,
    /// How many idempotency keys are kept; the oldest are forgotten first. Default 1,000,000.
    pub max_keys: usize,
    /// Garbage that the journal may hold in addition to as much as there is live data, in segments. Default 2.
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

/// A message that existed when the store was opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovered {
    /// Its id.
    pub id: MessageId,
    /// When it is due, or that it is frozen.
    pub status: Status,
    /// Why it is frozen.
    pub frozen: Option<FrozenKind>,
    /// The start of an attempt whose end was not recorded: the next hop may have the message.
    pub in_flight: Option<Timestamp>,
    /// Whether the message was rerouted after that attempt started.
    pub rerouted: bool,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Next hops, shared by messages with the same ones.
    pub next_hops: Arc<[NextHop]>,
    /// Where the next hops come from.
    pub origin: RouteOrigin,
    /// How long it was to wait when its due time was written, if known. If the clock was set back since, it waits no
    /// longer than that.
    pub wait: Option<Duration>,
    /// Bytes of the body.
    pub body_size: u64,
    /// About how many bytes it takes in memory, without the body.
    pub footprint: u64,
}

/// As a start reports this message. `wait` is not known from the message alone.
impl From<&Message> for Recovered {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id,
            status: message.state.status,
            frozen: crate::reason::frozen_kind(&message.state),
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

/// A damaged place that recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file, relative to the spool.
    pub file: String,
    /// The first damaged byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
    /// What is wrong.
    pub reason: String,
    /// Where the bytes are now, relative to the spool. If there are no bytes to keep, the file itself.
    pub kept_as: String,
}

/// An idempotency key, and the messages that were added under it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RememberedKey {
    /// The key.
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
    /// The key of an add, if it has one.
    pub(super) fn of(addition: &Addition) -> Option<Self> {
        let AddKey { key, fingerprint } = addition.key.clone()?;
        let ids = addition.messages.iter().map(|message| message.id).collect();
        Some(Self::new(key, fingerprint, ids, addition.spooled_at))
    }

    /// A key under which these messages were added.
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
    /// Damaged places.
    pub damage: Vec<Damage>,
    /// Idempotency keys within their window, oldest first. From [`Store::load_all`](super::Store::load_all) only those
    /// that are not in [`Begun::keys`](super::Begun::keys).
    pub keys: Vec<RememberedKey>,
    /// The number of the last event.
    pub last_event: u64,
    /// The highest message id in the journal.
    pub last_id: Option<MessageId>,
}

/// Counters since the store was opened.
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
    /// Live messages now.
    pub messages: u64,
    /// Journal segments on disk now.
    pub segments: u64,
    /// Messages moved by compaction.
    pub moved: u64,
    /// Frames read to load messages and bodies.
    pub frames_read: u64,
}

/// The keys in the key log, with their times.
pub(super) type LoggedKeys = HashSet<(KeyDigest, Timestamp)>;
