//! What a DeliveryActor tells the spool.

use actix::Message;
use spool_core::{Attempt, MessageId};

/// An attempt came to its end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptEnded {
    pub(crate) id: MessageId,
    pub(crate) attempt: Attempt,
}
