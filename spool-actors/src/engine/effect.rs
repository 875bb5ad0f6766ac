//! What the engine wants done.

use super::jobs::{DiskJob, Wanted};
use super::tag::ToCommit;
use super::{Told, World};
use crate::outcome::{Idle, Loaded, Outcome};
use crate::pace::Signal;
use bytes::Bytes;
use spool_core::{AddError, Attempt, Event, Message, MessageId, SpoolError, Timestamp};
use std::sync::Arc;

/// A request of the engine. [`Input`](super::Input)s bring the result.
#[derive(Debug)]
pub(crate) enum Effect<W: World> {
    /// Write a change. [`Input::Committed`](super::Input::Committed) brings the answer.
    Commit(ToCommit<W>),
    /// Sign the notice in a change. [`Input::Signed`](super::Input::Signed) brings it back, signed or not.
    Sign(ToCommit<W>),
    /// Work on the disk. [`Input::Done`](super::Input::Done).
    Work(DiskJob<W>),
    /// Wait until there is memory. [`Input::Memory`](super::Input::Memory).
    WaitForMemory { bytes: u64, wanted: Wanted },
    /// Start an attempt. Not `recorded`: its start is to be asked for by [`Input::MayBegin`](super::Input::MayBegin), once a session is
    /// there. [`Input::AttemptEnded`](super::Input::AttemptEnded).
    Start {
        job: spool_core::Job,
        permit: W::Permit,
        recorded: bool,
    },
    /// Send this to the throttle. [`Input::Granted`](super::Input::Granted) and others bring the result.
    Tell(Told),
    /// Give a permit back; with what its last attempt said, if it has ended with that.
    Return(W::Permit, Option<Signal>),
    /// Ask the presend hook. [`Input::Presented`](super::Input::Presented).
    AskPresend(Arc<Message>),
    /// Ask the `on_error` hook. [`Input::Decided`](super::Input::Decided).
    AskOnError(AskedAttempt),
    /// These events are on disk, in this order.
    Publish(Vec<Event>),
    /// Answer someone.
    Answer(W::Reply, Answer),
    /// What was there at the start has come.
    Loaded(Loaded),
    /// Take the next turn at this time inside at the latest.
    Wake(Timestamp),
    /// Nothing runs and nothing is being written: keep what was learned, and close.
    Close,
}

/// An attempt that has ended, about which the `on_error` hook is asked.
#[derive(Debug)]
pub(crate) struct AskedAttempt {
    pub(crate) message: Box<Message>,
    pub(crate) body: Bytes,
    pub(crate) attempt: Attempt,
}

/// An answer to someone outside.
#[derive(Debug, derive_more::TryInto)]
pub(crate) enum Answer {
    Added(Result<Vec<MessageId>, AddError>),
    Operated(Result<Outcome, SpoolError>),
    Idle(Result<Idle, SpoolError>),
    /// Whether an attempt may start: its start is on disk.
    Begun(bool),
}
