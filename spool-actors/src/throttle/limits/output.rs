//! What [`Limits`](super::Limits) asks Throttle to do.

use crate::engine::{DestinationId, Input, Outlook, PathId, PermitId, World};
use spool_core::{LearnedDestination, NextHop, Timestamp};
use std::sync::Arc;

/// A request of [`Limits`](super::Limits) to Throttle or, through it, to the engine. They are carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// An attempt to this destination may start, on this path.
    Granted {
        destination: DestinationId,
        permit: PermitId,
        path: Arc<[NextHop]>,
        epoch: u64,
    },
    /// Look up the path of a destination: [`Limits::looked_up`](super::Limits::looked_up) takes the answer.
    LookUp(DestinationId, Arc<[NextHop]>),
    /// A destination has this path.
    Path(DestinationId, PathId),
    /// The outlook of a path has changed.
    Outlook(PathId, Outlook),
    /// A path did not answer, for this reason, and its circuit is open.
    Unanswered(PathId, String),
    /// A destination that has gone is forgotten: its number may be used again.
    Left(DestinationId),
    /// A path is forgotten.
    Forgotten(PathId),
    /// Whether destinations wait for permits that cannot be granted, because all jobs or sessions are in use.
    Contended(bool),
    /// When [`Told::Time`](crate::engine::Told::Time) must be sent.
    Opens(Option<Timestamp>),
    /// Keep what was learned on disk.
    Keep(Vec<LearnedDestination>),
}

impl Output {
    /// What the engine learns of it; `permit`: that of a [`Output::Granted`]. `None`: it is not for the engine.
    pub(crate) fn into_input<W: World>(self, permit: Option<W::Permit>) -> Option<Input<W>> {
        Some(match self {
            Self::Granted { destination, .. } => match permit {
                Some(permit) => Input::Granted(destination, permit),
                None => Input::Lapsed(destination),
            },
            Self::LookUp(..) => return None,
            Self::Path(destination, path) => Input::Path(destination, path),
            Self::Outlook(path, outlook) => Input::Outlook(path, outlook),
            Self::Unanswered(path, reason) => Input::Unanswered(path, reason),
            Self::Left(destination) => Input::Left(destination),
            Self::Forgotten(path) => Input::Forgotten(path),
            Self::Contended(contended) => Input::Contended(contended),
            Self::Opens(at) => Input::Opens(at),
            Self::Keep(learned) => Input::Keep(learned),
        })
    }
}
