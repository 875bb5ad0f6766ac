//! What a DeliveryActor reports to the spool.

use crate::throttle::Permit;
use actix::Message;
use spool_core::{Attempt, MessageId};

/// An attempt came to its end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptEnded {
    pub(crate) id: MessageId,
    pub(crate) attempt: Attempt,
    /// For the next session to the same destination.
    pub(crate) permit: Option<Permit>,
}
