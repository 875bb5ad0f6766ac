//! The interface between the engine and [`Throttle`](crate::throttle::Throttle), which owns the limits.
//!
//! The engine asks for permits by destination, and starts attempts with them. Which destinations share a path, how many sessions and
//! messages a path takes, and who is next, is Throttle's to decide.

use super::DestinationId;
use crate::pace::Signal;
use spool_core::{NextHop, Timestamp};
use std::sync::Arc;

/// Names a path: the hosts by which limits are counted. No other path gets the name.
pub(crate) type PathId = u64;

/// Names a permit.
pub(crate) type PermitId = u64;

/// What the engine reports to the throttle, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// So many more messages of this destination wait for a permit, or fewer.
    Demand {
        destination: DestinationId,
        next_hops: Arc<[NextHop]>,
        more: isize,
    },
    /// An attempt starts with this permit. The first one was counted when the permit was granted.
    Started(PermitId),
    /// The attempt under this permit has ended. The permit is kept for the next message of its destination.
    Done(PermitId, Signal),
    /// The permit is given back; with what its last attempt said, if it has ended with that. A permit that was not used counts for nothing.
    Returned(PermitId, Option<Signal>),
    /// A person wants mail for this destination sent: its path is tried at once, even when it did not answer.
    Hurry(DestinationId),
    /// The destination has no more messages.
    Gone(DestinationId),
    /// The time has come that [`News::Opens`] named.
    Time,
    /// The spool has ended: no more permits are granted.
    Ended,
}

/// What the throttle reports to the engine beside the permits that it grants, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The path of a destination.
    Path(DestinationId, PathId),
    /// The outlook of a path has changed.
    Outlook(PathId, Outlook),
    /// A path did not answer, for this reason, and its circuit is open.
    Unanswered(PathId, String),
    /// A path is forgotten.
    Forgotten(PathId),
    /// Whether destinations wait for permits that cannot be granted, because all jobs or sessions are in use.
    Contended(bool),
    /// When [`Told::Time`] must be sent.
    Opens(Option<Timestamp>),
}

/// The outlook of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Attempts at once.
    pub(crate) limit: usize,
    /// Whether a permit may be used for one message after the other, and starts may be recorded before there is a permit. Not where a rate
    /// or a failure holds messages back, or where another destination waits.
    pub(crate) goes_on: bool,
    /// No attempt may start before this time.
    pub(crate) until: Option<Timestamp>,
    /// Whether the circuit of the path is open.
    pub(crate) is_shut: bool,
}
