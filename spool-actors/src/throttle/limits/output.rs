//! What [`Limits`](super::Limits) asks Throttle to do.

use crate::engine::{DestinationId, News, PermitId};
use spool_core::NextHop;
use std::sync::Arc;

/// A request of [`Limits`](super::Limits). They are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Report this to the engine.
    News(News),
}
