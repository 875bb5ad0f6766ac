//! Errors for callers that submit mail to a spool or operate on it.

use crate::id::MessageId;
use std::time::Duration;
use thiserror::Error;

/// When to try again after [`AddError::Busy`] or [`SpoolError::Busy`].
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why mail was not accepted. No part of it is on the spool, except that after a failure of the disk it may be:
/// repeat it with the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddError {
    /// Not enough memory; try again soon. SMTP 451, HTTP 503.
    #[error("busy: try again in {} ms", RETRY_AFTER.as_millis())]
    Busy,
    /// The disk is full, or the number of messages is at its limit. SMTP 452, HTTP 507.
    #[error("the spool is full: {0}")]
    Full(String),
    /// The disk failed. The spool takes no more mail until it is opened again. SMTP 451.
    #[error("the spool's disk failed: {0}")]
    Disk(String),
    /// The spool has ended for the given reason. It accepts no mail until it is opened again. SMTP 451, HTTP 503.
    #[error("the spool has ended: {0}")]
    Ended(String),
    /// The submission is invalid. SMTP 554, HTTP 400.
    #[error("not a valid submission: {0}")]
    Invalid(String),
    /// It has more recipients than one submission may have. SMTP 452 at the RCPT beyond the limit, HTTP 400.
    #[error("{count} recipients are more than the {limit} that one submission may have")]
    TooManyRecipients {
        /// How many it has, in all of its sections.
        count: usize,
        /// How many it may have: [`SpoolConfig::max_recipients`](crate::SpoolConfig::max_recipients).
        limit: usize,
    },
    /// Something else was added under this idempotency key. SMTP 554, HTTP 422.
    #[error("the idempotency key was used for another message: {}", ids.first().map_or_else(String::new, ToString::to_string))]
    KeyReused {
        /// The messages that were added under it.
        ids: Vec<MessageId>,
    },
    /// It must be signed and could not be. SMTP 451, HTTP 503.
    #[error("the message cannot be signed: {0}")]
    Unsigned(String),
    /// The spool is shutting down or has ended. SMTP 421.
    #[error("the spool is closed")]
    Killed,
}

/// Why an operation on messages failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// No such message.
    #[error("{0}: no such message")]
    NoSuchMessage(MessageId),
    /// Only a frozen message can be removed.
    #[error("{0}: must be frozen before it can be removed")]
    NotFrozen(MessageId),
    /// It has no route in this process, so it cannot be sent.
    #[error("{0}: has no route, so it cannot be sent; `spool reroute` gives it one")]
    NoRoute(MessageId),
    /// It is on the spool already.
    #[error("{0}: is on the spool already")]
    OnSpool(MessageId),
    /// It is being sent, so it cannot be ended now.
    #[error("{0}: is being sent; it can be ended when its attempt is over, or once it is frozen")]
    BeingSent(MessageId),
    /// The reverse-path is null, so there is no one to notify.
    #[error(
        "{0}: has a null reverse-path, so no notice can be returned; `spool remove` takes it off the spool"
    )]
    NullReversePath(MessageId),
    /// The spool returns no notices.
    #[error("the spool returns no notices")]
    NoNotices,
    /// Mail must be routed by the configuration, and there is none.
    #[error("the service runs without routes to go by: name next hops, or start it with a configuration")]
    NoConfiguration,
    /// A route without a next hop.
    #[error("a route needs a next hop")]
    NoNextHop,
    /// It exists and cannot be read.
    #[error("{id}: cannot be read: {reason}")]
    Unreadable {
        /// Which message.
        id: MessageId,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no room on the disk.
    #[error("the spool is full: {0}")]
    Full(String),
    /// Not enough memory; try again soon.
    #[error("busy: try again in {} ms", RETRY_AFTER.as_millis())]
    Busy,
    /// The disk failed.
    #[error("the spool's disk failed: {0}")]
    Disk(String),
    /// The spool has ended for the reason given. It works again after it is opened again.
    #[error("the spool has ended: {0}")]
    Ended(String),
    /// The spool is shutting down or was closed.
    #[error("the spool is closed")]
    Killed,
}
