//! What the spool can be asked. Each message says what it replies; after [`KillAndFlush`] every reply is `Killed`.

use crate::event_hub::Subscription;
pub use crate::outcome::{Idle, Loaded, NewRoute, Outcome};
use crate::supervision::Ending;
use actix::Message;
use bytes::Bytes;
use spool_core::store::{Progress, Shelf, StoreStats};
use spool_core::{
    AddError, Envelope, Fingerprint, FlowId, InitialStatus, MessageId, MessageSummary, NextHop, NextHopError,
    RetryPolicy, RouteOrigin, Routing, Section, SpoolError, Submission,
};
use spool_core::{Hold, Queue, RetryInterval, ShownStatus};
use std::sync::Arc;
use std::time::Duration;

fn nul(at: usize) -> AddError {
    AddError::Invalid(format!("the body has a NUL at byte {at}"))
}

/// Spools mail. Replies with one id for each section, once all of them are durable.
///
/// # Errors
/// Every [`AddError`]; nothing of the add is on the spool then.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<MessageId>, AddError>")]
pub struct Add {
    pub(crate) submission: Result<Submission, AddError>,
    /// The routing that its sections are from, if that is known.
    pub(crate) routing: Option<Routing>,
    /// Of what its idempotency key stands for, when that is not what is spooled.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether nobody vouches for the reverse-path.
    pub(crate) unknown_submitter: bool,
}

impl Add {
    fn of(submission: Result<Submission, AddError>) -> Self {
        Self {
            submission,
            routing: None,
            fingerprint: None,
            unknown_submitter: false,
        }
    }

    /// One envelope and a body. Line ends become CRLF. Needs at least one [`Add::next_hop`].
    pub fn new(envelope: Envelope, body: impl Into<Bytes>) -> Self {
        let section = Section {
            envelope,
            next_hops: [].into(),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        };
        Self::sections(vec![section], body)
    }

    /// Several sections that share a body: all of them are spooled, or none.
    pub fn sections(sections: Vec<Section>, body: impl Into<Bytes>) -> Self {
        let submission = spool_core::crlf(body.into()).map(|body| Submission {
            sections,
            body,
            initial: InitialStatus::SendNow,
            flows: Vec::new(),
            parent: None,
            related: Vec::new(),
            key: None,
        });
        Self::of(submission.map_err(nul))
    }

    /// A submission as it is. One whose body holds anything but whole CRLF lines fails the add: with a bare LF it could end the mail
    /// early at a next hop that takes that for a line end, and the rest would be commands.
    pub fn submission(submission: Submission) -> Self {
        let checked = match spool_core::has_whole_lines(&submission.body) {
            Ok(true) => Ok(submission),
            Ok(false) => Err(AddError::Invalid(
                "a body must hold only lines ended by CRLF".to_owned(),
            )),
            Err(at) => Err(nul(at)),
        };
        Self::of(checked)
    }

    /// The routing that gave the sections their next hops. Where the spool has another one by the time it takes the mail, routes that no
    /// submitter named are found anew.
    #[must_use]
    pub fn routed_by(mut self, routing: Routing) -> Self {
        self.routing = Some(routing);
        self
    }

    /// The fingerprint of what its submitter handed over, where the submission is not that any more: its body was completed or signed.
    /// With it, the submitter may repeat the add under its idempotency key. `None`: that of the submission.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Option<Fingerprint>) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Nobody vouches for the reverse-path: no notice is returned to it but by hand, and messages whose recipients fail are frozen.
    #[must_use]
    pub fn of_unknown_submitter(mut self) -> Self {
        self.unknown_submitter = true;
        self
    }

    /// Appends `host:port` to the next hops of every section. A text that is none fails the add.
    #[must_use]
    pub fn next_hop(self, next_hop: &str) -> Self {
        let parsed = next_hop.parse::<NextHop>();
        self.with(|submission| {
            let hop =
                parsed.map_err(|error: NextHopError| AddError::Invalid(format!("{next_hop}: {error}")))?;
            for section in &mut submission.sections {
                section.next_hops = section.next_hops.iter().cloned().chain([hop.clone()]).collect();
            }
            Ok(())
        })
    }

    /// How every section is retried.
    #[must_use]
    pub fn retry(self, retry: &RetryPolicy) -> Self {
        self.with(|submission| {
            for section in &mut submission.sections {
                section.retry = retry.clone();
            }
            Ok(())
        })
    }

    /// Spools it frozen: it waits for a person.
    #[must_use]
    pub fn frozen(self) -> Self {
        self.with(|submission| {
            submission.initial = InitialStatus::Frozen;
            Ok(())
        })
    }

    /// Ties it to `flow`.
    #[must_use]
    pub fn flow(self, flow: FlowId) -> Self {
        self.with(|submission| {
            submission.flows.push(flow);
            Ok(())
        })
    }

    /// Ties it to other messages on the spool.
    #[must_use]
    pub fn related(self, ids: &[MessageId]) -> Self {
        self.with(|submission| {
            submission.related.extend_from_slice(ids);
            Ok(())
        })
    }

    /// Names the add: when the same name comes again within the window, the ids of the first time are given and
    /// nothing is spooled. 1 to 255 bytes.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.with(|submission| {
            submission.key = Some(key.into());
            Ok(())
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Submission) -> Result<(), AddError>) -> Self {
        self.submission = self
            .submission
            .and_then(|mut submission| change(&mut submission).map(|()| submission));
        self
    }
}

/// Puts mail on the quarantine shelf, where a person can inspect it as plain files. It is in no listing of active mail, and
/// is sent only after [`Recover`] and [`SendNow`]. Replies with one id for each section, once all are durable.
///
/// # Errors
/// Every [`AddError`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<MessageId>, AddError>")]
pub struct Quarantine {
    /// Why.
    pub reason: String,
    /// What.
    pub mail: Add,
}

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

/// Takes frozen messages off the spool, to the shelf of removed ones. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages, such as [`SpoolError::NotFrozen`], is in the
/// [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Remove(pub Vec<MessageId>);

/// Brings messages back from a shelf, frozen. Replies when it is durable.
///
/// # Errors
/// [`SpoolError::Killed`]; what went wrong with single messages is in the [`Outcome`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, SpoolError>")]
pub struct Recover {
    /// Which.
    pub ids: Vec<MessageId>,
    /// From where.
    pub from: Shelf,
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
    /// What it waits for, as a listing shows it; of no meaning on a shelf.
    pub status: ShownStatus,
    /// Why it is on its shelf.
    pub reason: Option<String>,
    /// The next hops for whoever is left when the attempt that runs has ended, if the message was rerouted meanwhile.
    pub next_hops_afterwards: Option<Arc<[NextHop]>>,
    /// Of a message that was divided among its routes, the other parts, as far as they are on the spool: the first 1,000. Each of them
    /// has this one as its parent.
    pub parts: Vec<MessageId>,
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
    /// At most so many. With envelopes, and on a shelf, fewer when they are large: an empty page is the last.
    pub limit: usize,
    /// A shelf, rather than the spool.
    pub shelf: Option<Shelf>,
}

impl Default for ListMessages {
    /// Everything on the spool in one page, from memory.
    fn default() -> Self {
        Self {
            envelopes: false,
            after: None,
            limit: usize::MAX,
            shelf: None,
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
