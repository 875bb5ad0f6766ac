//! What operations are asked for, and what they come to: plain values, which the engine and the actors' messages share.

use spool_core::store::Damage;
use spool_core::{NextHop, SpoolError, Timestamp};
use std::sync::Arc;

/// Where messages are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRoute {
    /// To these next hops, in order, at least one; whatever a configuration says.
    To(Arc<[NextHop]>),
    /// Where the spool's [`Routing`](spool_core::Routing) leads, at the time when they are sent.
    ByConfig,
}

/// What an operation on several messages did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How many messages are now as asked for.
    pub done: usize,
    /// Why the others are not, each naming its message.
    pub errors: Vec<SpoolError>,
}

/// The reply to [`WaitIdle`](crate::WaitIdle).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When there will be something to do.
    pub next_attempt: Option<Timestamp>,
}

/// What a start found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// Messages on the spool when loading was over, those added meanwhile included.
    pub messages: usize,
    /// Bytes cut from the torn end of the journal: a write that was never answered.
    pub torn_bytes: u64,
    /// What could not be read and was set aside.
    pub damage: Vec<Damage>,
}
