//! Arguments and results of operations: plain values, which the engine and the actors' messages share.

use spool_core::store::Damage;
use spool_core::{NextHop, SpoolError, Timestamp};
use std::sync::Arc;

/// The route that [`Reroute`](crate::Reroute) sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRoute {
    /// These next hops, in order, at least one; they override the configuration.
    To(Arc<[NextHop]>),
    /// The route that the spool's [`Routing`](spool_core::Routing) gives when they are sent.
    ByConfig,
}

/// The result of an operation on messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How many messages are as requested.
    pub done: usize,
    /// The errors of the other messages; each names its message.
    pub errors: Vec<SpoolError>,
}

/// The reply to [`WaitIdle`](crate::WaitIdle).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When the next message becomes due.
    pub next_attempt: Option<Timestamp>,
}

/// The result of loading a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// Messages on the spool when loading was over, including those added meanwhile.
    pub messages: usize,
    /// Bytes cut from the torn end of the journal, of a write that was never acknowledged.
    pub torn_bytes: u64,
    /// Damage that was set aside.
    pub damage: Vec<Damage>,
}
