//! What the machine wants said or done.

use crate::engine::{DestinationId, Outlook, PathId, PermitId};
use spool_core::{LearnedDestination, NextHop, Timestamp};
use std::sync::Arc;

/// What the machine wants said or done, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// An attempt to this destination may start, on this path.
    Granted {
        destination: DestinationId,
        permit: PermitId,
        path: Arc<[NextHop]>,
        epoch: u64,
    },
    /// The path of a destination is to be looked up: [`Limits::looked_up`](super::Limits::looked_up) takes the answer.
    LookUp(DestinationId, Arc<[NextHop]>),
    /// A destination has this path.
    Path(DestinationId, PathId),
    /// What the messages of a path have to expect, when that has changed.
    Outlook(PathId, Outlook),
    /// A path did not answer, for this reason, and is left alone from now on.
    Unanswered(PathId, String),
    /// Nothing is told of a destination that has gone any more: its number may be used again.
    Left(DestinationId),
    /// A path is not known any more.
    Forgotten(PathId),
    /// Whether permits are waited for that cannot be granted for want of jobs or sessions.
    Contended(bool),
    /// When [`Told::Time`](crate::engine::Told::Time) is to be told.
    Opens(Option<Timestamp>),
    /// What was learned is to be kept on disk.
    Keep(Vec<LearnedDestination>),
}
