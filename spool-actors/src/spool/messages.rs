//! What the spool can be asked. Each message says what it replies; after [`KillAndFlush`] every reply is `Killed`.

use super::commit::Tag;
use crate::event_hub::Subscription;
use crate::writer::Answer;
use actix::Message;
use bytes::Bytes;
use spool_core::store::StoreStats;
use spool_core::{
    AddError, Envelope, FlowId, InitialStatus, MessageId, MessageSummary, NextHop, NextHopError, RetryPolicy,
    Section, SpoolError, Submission,
};
use std::time::Duration;

/// Spools mail. Replies with one id for each section, once all of them are durable.
///
/// # Errors
/// Every [`AddError`]; nothing of the add is on the spool then.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<MessageId>, AddError>")]
pub struct Add(pub(crate) Result<Submission, AddError>);

impl Add {
    /// One envelope and a body. Line ends become CRLF. Needs at least one [`Add::next_hop`].
    pub fn new(envelope: Envelope, body: impl Into<Bytes>) -> Self {
        let section = Section {
            envelope,
            next_hops: [].into(),
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
        });
        Self(submission.map_err(|at| AddError::Invalid(format!("the body has a NUL at byte {at}"))))
    }

    /// A submission as it is: its body must hold only whole CRLF lines, without bare CR, bare LF or NUL.
    #[must_use]
    pub const fn submission(submission: Submission) -> Self {
        Self(Ok(submission))
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

    fn with(self, change: impl FnOnce(&mut Submission) -> Result<(), AddError>) -> Self {
        Self(
            self.0
                .and_then(|mut submission| change(&mut submission).map(|()| submission)),
        )
    }
}

/// Lists the messages on the spool, in no order. Replies from memory, at once; envelopes, when asked for, are read
/// from disk.
///
/// # Errors
/// [`SpoolError::Killed`]; [`SpoolError::Disk`] when envelopes cannot be read.
#[derive(Debug, Clone, Copy, Default, Message)]
#[rtype(result = "Result<Vec<MessageSummary>, SpoolError>")]
pub struct ListMessages {
    /// Whether to read senders, recipients and sizes from disk.
    pub envelopes: bool,
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
    /// Messages on the spool.
    pub messages: usize,
}

/// Starts no new session, waits for the running ones, and closes the spool. Frozen messages and those that wait for a
/// retry are not touched. Every later operation answers `Killed`.
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

/// Subscribes to the events, from now on.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Subscription, SpoolError>")]
pub struct Subscribe;

/// The writer's answers to one commit.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Committed(pub(crate) Vec<Answer<Tag>>);
