//! The messages that the spool handles, each with its reply. After [`KillAndFlush`] every reply is the reason of the end: `Killed`, or what
//! had ended the spool before.

pub use super::add::{Add, Quarantine};
use crate::event_hub::Subscription;
pub use crate::outcome::{Idle, Loaded, NewRoute, Outcome};
use crate::supervision::Ending;
use actix::Message;
use bytes::Bytes;
use spool_core::store::{Archive, Progress, StoreStats};
use spool_core::{
    Address, Hold, MessageId, MessageSummary, NextHop, Queue, RetryInterval, ShownStatus, SpoolError,
};
use std::sync::Arc;
use std::time::Duration;

/// Freezes messages: they are not tried until an operator acts. A message that is being sent is frozen when its attempt ends, unless the
/// attempt delivers it. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Freeze(pub Vec<MessageId>);

/// Which messages are to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All messages, frozen and waiting.
    AllMessages,
    /// All frozen messages.
    FrozenOnly,
    /// The messages with these ids.
    SomeMessages(Vec<MessageId>),
}

/// Makes messages due now, frozen and waiting ones, and tries failed recipients again. Messages that are due or being sent already are not
/// changed. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct SendNow {
    /// The messages.
    pub which: Which,
    /// Intervals that are used before the remaining ones if the attempt is deferred.
    pub retry_intervals: Vec<RetryInterval>,
}

/// Moves frozen messages from the spool to the archive of removed messages. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::NotFrozen`], is in the
/// [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Remove(pub Vec<MessageId>);

/// Moves messages from an archive back to the spool, frozen. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Recover {
    /// The messages.
    pub ids: Vec<MessageId>,
    /// The archive that has them.
    pub from: Archive,
}

/// Changes the route of waiting and frozen messages; their status stays. A message that is being sent gets the route when its attempt ends,
/// unless the attempt delivers it. Replies when the changes are durable.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::NoConfiguration`] when the spool has no routing rules; [`SpoolError::NoNextHop`]; what
/// went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Reroute {
    /// The messages.
    pub ids: Vec<MessageId>,
    /// Their route.
    pub to: NewRoute,
}

/// Deletes messages in the archive of removed messages. Nothing else deletes undelivered mail.
///
/// # Errors
/// [`SpoolError::Killed`], [`SpoolError::Disk`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Purge {
    /// Only messages that were removed at least this long ago.
    pub older_than: Duration,
    /// Only messages with these ids; `None`: all.
    pub ids: Option<Vec<MessageId>>,
}

/// Returns one message from the spool, or from one of the archives.
///
/// # Errors
/// [`SpoolError::NoSuchMessage`], [`SpoolError::Unreadable`], [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Details, SpoolError>")]
pub struct Get(pub MessageId);

/// A message without its body.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Details {
    /// The message as it is on disk, with its current route.
    pub message: spool_core::Message,
    /// The queue or archive that has it.
    pub queue: Queue,
    /// Its status, as a listing shows it.
    pub status: ShownStatus,
    /// Why it was archived.
    pub reason: Option<String>,
    /// The next hops for the recipients that remain after the running attempt, if the message was rerouted during it.
    pub next_hops_afterwards: Option<Arc<[NextHop]>>,
    /// The other parts of a message that was divided among its routes, as far as they are on the spool: the first 1,000. This message is
    /// their parent.
    pub parts: Vec<MessageId>,
    /// The recipients that moved to those parts.
    pub moved: Vec<Address>,
}

/// Returns the body of one message from the spool, or from one of the archives.
///
/// # Errors
/// As [`Get`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Bytes, SpoolError>")]
pub struct GetBody(pub MessageId);

/// Returns what holds a message back at present, in the order in which it applies.
///
/// # Errors
/// [`SpoolError::NoSuchMessage`] when it is not on the spool, [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Hold>, SpoolError>")]
pub struct Explain(pub MessageId);

/// Replies when the spool is idle: no session runs, no operation is under way, nothing is being written to the journal, and no message
/// is due, except while the maximum of jobs is 0. It does not wait for a [`Purge`].
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Idle, SpoolError>")]
pub struct WaitIdle;

/// Lists messages by page, in the order of their ids, which is the order of their arrival. The reply comes from memory, but waits until all
/// messages are loaded after a start; envelopes are read from disk if requested. The pages are not a snapshot.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::Disk`] when envelopes cannot be read.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<MessageSummary>, SpoolError>")]
pub struct ListMessages {
    /// Whether to read senders, recipients and sizes from disk.
    pub envelopes: bool,
    /// Only messages after this one: the last id of the previous page.
    pub after: Option<MessageId>,
    /// The most messages of a page. With envelopes, and in an archive, a page may have fewer when they are large; an empty page is the last.
    pub limit: usize,
    /// An archive to be listed instead of the spool.
    pub archive: Option<Archive>,
}

impl Default for ListMessages {
    /// Everything on the spool in one page, from memory.
    fn default() -> Self {
        Self {
            envelopes: false,
            after: None,
            limit: usize::MAX,
            archive: None,
        }
    }
}

/// Sets the maximum of concurrent jobs, for sessions that start after this. 0 pauses delivery. Running sessions are not affected.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), SpoolError>")]
pub struct SetMaxConcurrentJobs(pub usize);

/// Returns the [`Jobs`].
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Jobs, SpoolError>")]
pub struct GetJobs;

/// The delivery sessions at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Jobs {
    /// The maximum of concurrent jobs.
    pub max: usize,
    /// Running attempts.
    pub running: usize,
    /// Messages that are due.
    pub waiting: usize,
}

/// Returns the [`SpoolStats`].
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<SpoolStats, SpoolError>")]
pub struct GetStats;

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStats {
    /// The counts of the file layer.
    pub store: StoreStats,
    /// Messages delivered.
    pub delivered: u64,
    /// Notices spooled.
    pub notices: u64,
    /// Messages on the spool, as far as they are loaded.
    pub messages: usize,
    /// The progress of loading the messages that were on disk at the start; `None`: all are loaded.
    pub loading: Option<Progress>,
    /// Damaged places on disk that the scrub knows of.
    pub damaged: usize,
    /// Idempotency keys that are remembered.
    pub keys: usize,
    /// Idempotency keys that were forgotten for newer ones before their window was over.
    pub keys_given_up: u64,
}

/// Replies when all messages that were on disk at the start are loaded. A spool accepts mail before that; listings, and operations on
/// messages that may not be loaded yet, wait for it.
///
/// # Errors
/// [`SpoolError::Disk`] when it cannot be loaded, [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Loaded, SpoolError>")]
pub struct WhenLoaded;

/// Replies with the reason when the spool has ended, or at once if it has. After the end no session starts and no mail is accepted.
/// [`KillAndFlush`] waits for the running sessions and releases the directory.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Ending")]
pub struct WhenEnded;

/// Starts no new session, waits for the running ones, and closes the spool. Frozen and waiting messages are not changed. Every later
/// operation answers `Killed`, or why the spool had ended before, as long as an address of the spool exists.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Flushed")]
pub struct KillAndFlush {
    /// How long to wait for running sessions; `None`: until they have ended.
    pub timeout: Option<Duration>,
}

/// How [`KillAndFlush`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// No session runs, and the results of all sessions are on disk.
    Finished,
    /// Some sessions were still running.
    Timeout,
}

/// Subscribes to events.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Default, Message)]
#[rtype(result = "Result<Subscription, SpoolError>")]
pub struct Subscribe {
    /// Start after the event with this number: first with the event log on disk, then with new events. `None`: only new events.
    pub since: Option<u64>,
}
