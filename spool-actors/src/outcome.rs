//! Arguments and results of operations: plain values, which the engine and the actors' messages share.

use serde::{Deserialize, Serialize};
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

/// The state of one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationState {
    /// Its next hops, in order.
    pub next_hops: Arc<[NextHop]>,
    /// The path of its mail: the hosts by which its limits are counted. Destinations with the same path share the limits, and what was
    /// learned.
    #[serde(default)]
    pub path: Arc<[NextHop]>,
    /// Messages on the spool.
    pub messages: usize,
    /// Messages that are due and not being sent.
    pub waiting: usize,
    /// Running sessions.
    pub running: usize,
    /// The window: sessions at once that are allowed at present.
    pub limit: usize,
    /// The connection limit: the most sessions at once.
    pub max: usize,
    /// Why the window is below the connection limit: the text of the reply or the error.
    pub limit_reason: Option<String>,
    /// Messages a second: the lower one of the configured and the learned rate; `None`: there is neither.
    pub rate_per_second: Option<f64>,
    /// Why a rate was learned: the text of the reply.
    pub rate_reason: Option<String>,
    /// The state of its circuit.
    pub circuit: Circuit,
    /// The time and the text of the last error.
    pub last_error: Option<(Timestamp, String)>,
}

/// The state of the circuit of a destination: whether it is paused because it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Circuit {
    /// It is not paused.
    Closed,
    /// It is paused.
    Open {
        /// The end of the pause.
        until: Timestamp,
        /// Failures in a row.
        failures: u32,
        /// The text of the last failure.
        reason: String,
    },
    /// The pause is over, and one message is tried as the probe.
    HalfOpen {
        /// Failures in a row.
        failures: u32,
        /// The text of the last failure.
        reason: String,
    },
}
