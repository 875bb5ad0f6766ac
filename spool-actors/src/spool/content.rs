//! What an attempt needs of a message: everything the disk holds of it, in memory for a while.

use crate::pace::Begun;
use bytes::Bytes;
use spool_core::{Held, Message};

/// A message with its body, and the memory it was granted.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) message: Message,
    pub(super) body: Bytes,
    /// Its session.
    pub(super) session: Option<Begun>,
    pub(super) _held: Held,
}

impl Content {
    /// Lets go of the body and of the memory.
    pub(super) fn into_message(self) -> Message {
        self.message
    }
}
