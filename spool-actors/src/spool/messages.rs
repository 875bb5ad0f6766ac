//! What the spool can be asked. Each message says what it replies; after [`KillAndFlush`] every reply is `Killed`.

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

/// Freezes messages: they wait for a person. One that is being sent is frozen when its attempt ends, unless that
/// delivers it. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Freeze(pub Vec<MessageId>);

/// Which messages are to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Frozen and waiting ones.
    AllMessages,
    /// Frozen ones.
    FrozenOnly,
    /// These.
    SomeMessages(Vec<MessageId>),
}

/// Sends messages now: frozen ones are frozen no longer, waiting ones wait no longer, and failed recipients are tried
/// again. Those due or being sent already are left alone. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct SendNow {
    /// Which.
    pub which: Which,
    /// To be taken before the intervals that are left, should the attempt be deferred.
    pub retry_intervals: Vec<RetryInterval>,
}

/// Takes frozen messages off the spool, to the archive of removed messages. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::NotFrozen`], is in the
/// [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Remove(pub Vec<MessageId>);

/// Brings messages back from an archive, frozen. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Recover {
    /// Which.
    pub ids: Vec<MessageId>,
    /// From where.
    pub from: Archive,
}

/// Gives messages another route, waiting and frozen ones; that they wait, and for what, is not touched. One that is being sent has it
/// when its attempt ends, unless that delivers it. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::NoConfiguration`] when the spool has no rules to go by; [`SpoolError::NoNextHop`]; what
/// went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Reroute {
    /// Which.
    pub ids: Vec<MessageId>,
    /// Where to.
    pub to: NewRoute,
}

/// Deletes removed messages for good. Nothing else ever deletes undelivered mail.
///
/// # Errors
/// [`SpoolError::Killed`], [`SpoolError::Disk`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Purge {
    /// Only those that were removed longer ago.
    pub older_than: Duration,
    /// Only these; `None`: all of them.
    pub ids: Option<Vec<MessageId>>,
}

/// Asks for one message, wherever it is: on the spool, removed, or in quarantine.
///
/// # Errors
/// [`SpoolError::NoSuchMessage`], [`SpoolError::Unreadable`], [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Details, SpoolError>")]
pub struct Get(pub MessageId);

/// Everything about one message but its body.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Details {
    /// As the disk has it.
    pub message: spool_core::Message,
    /// Where it is kept.
    pub queue: Queue,
    /// What it waits for, as a listing shows it; of no meaning in an archive.
    pub status: ShownStatus,
    /// Why it is in its archive.
    pub reason: Option<String>,
    /// The next hops for whoever is left when the attempt that runs has ended, if the message was rerouted meanwhile.
    pub next_hops_afterwards: Option<Arc<[NextHop]>>,
    /// Of a message that was divided among its routes, the other parts, as far as they are on the spool: the first 1,000. Each of them
    /// has this one as its parent.
    pub parts: Vec<MessageId>,
    /// The recipients of those parts: they moved there, whatever became of others of this message.
    pub moved: Vec<Address>,
}

/// Asks for the body of one message, wherever it is.
///
/// # Errors
/// As [`Get`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Bytes, SpoolError>")]
pub struct GetBody(pub MessageId);

/// Asks what holds a message now, in order; each answer comes from the machine that decides.
///
/// # Errors
/// [`SpoolError::NoSuchMessage`] when it is not on the spool, [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Hold>, SpoolError>")]
pub struct Explain(pub MessageId);

/// Waits until nothing is left to do at this time: no session runs, nothing is being written, and whatever is due is
/// held back by a limit of 0 jobs.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Idle, SpoolError>")]
pub struct WaitIdle;

/// Lists messages in the order of their ids, which is that of their arrival, a page at a time. Replies from memory, at
/// once, but waits for the rest while, after a start, not all is loaded; envelopes, when asked for, are read from disk. It is
/// no snapshot.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::Disk`] when envelopes cannot be read.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<MessageSummary>, SpoolError>")]
pub struct ListMessages {
    /// Whether to read senders, recipients and sizes from disk.
    pub envelopes: bool,
    /// Only those behind this one: the last of the page before.
    pub after: Option<MessageId>,
    /// At most so many. With envelopes, and in an archive, fewer when they are large: an empty page is the last.
    pub limit: usize,
    /// An archive, rather than the spool.
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

/// Sets the maximum of concurrent jobs: of the sessions that start from now on, only so many run at once. 0 pauses
/// delivery. Sessions already running are not affected.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), SpoolError>")]
pub struct SetMaxConcurrentJobs(pub usize);

/// Asks for the [`Jobs`].
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Jobs, SpoolError>")]
pub struct GetJobs;

/// Delivery sessions, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Jobs {
    /// The maximum.
    pub max: usize,
    /// Attempts running.
    pub running: usize,
    /// Messages that are due.
    pub waiting: usize,
}

/// Asks for counts.
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
    /// Of the file layer.
    pub store: StoreStats,
    /// Messages delivered.
    pub delivered: u64,
    /// Notices spooled.
    pub notices: u64,
    /// Messages on the spool, as far as they are loaded.
    pub messages: usize,
    /// How far the loading of what was there at the start has come; `None`: all is loaded.
    pub loading: Option<Progress>,
    /// Damaged places on disk that the scrub knows of.
    pub damaged: usize,
    /// Idempotency keys that are remembered.
    pub keys: usize,
    /// Idempotency keys that gave way to newer ones before their window was over.
    pub keys_given_up: u64,
}

/// Replies once all that was there at the start is loaded. A spool takes mail before that; listings, and
/// whatever needs a message that may still come, wait for it.
///
/// # Errors
/// [`SpoolError::Disk`] when it cannot be loaded, [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Loaded, SpoolError>")]
pub struct WhenLoaded;

/// Replies once the spool has ended, with the reason: at once if it has. From that moment no session starts and nothing is
/// taken. What still runs is waited for, and the directory given free, by [`KillAndFlush`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Ending")]
pub struct WhenEnded;

/// Starts no new session, waits for the running ones, and closes the spool. Frozen messages and those that wait for a
/// retry are not touched. Every later operation answers `Killed`, or why the spool had ended before, for as long as somebody
/// holds an address.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Flushed")]
pub struct KillAndFlush {
    /// How long to wait; `None`: until they have ended.
    pub timeout: Option<Duration>,
}

/// How [`KillAndFlush`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// No session runs, and the disk holds how each of them ended.
    Finished,
    /// Some sessions were still running.
    Timeout,
}

/// Subscribes to the events.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Default, Message)]
#[rtype(result = "Result<Subscription, SpoolError>")]
pub struct Subscribe {
    /// Behind the event with this number, from the event log on disk, then on as they happen. `None`: from now on.
    pub since: Option<u64>,
}
