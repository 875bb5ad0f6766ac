//! A round: one attempt, or whatever else changes what becomes of a message.

use bytes::Bytes;
use spool_core::disposition::Fate;
use spool_core::{EventKind, Frozen, Message, RecipientIndex};

/// A message at the end of a round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// Its state is the new one.
    pub(super) message: Message,
    /// Empty where no notice can be due.
    pub(super) body: Bytes,
    pub(super) fate: Fate,
    /// Why it is to be frozen, if somebody asked for that.
    pub(super) freeze: Option<Box<Frozen>>,
    /// What is to be told beside what follows from the fate.
    pub(super) kinds: Vec<EventKind>,
    /// Recipients that asked for SUCCESS and were taken by a hop without DSN.
    pub(super) relayed: Vec<RecipientIndex>,
    /// A person wants a notice: only the null reverse-path forbids it.
    pub(super) by_hand: bool,
    /// Whether a notice may come of it. `false`: another round follows at once, and that one tells.
    pub(super) tells: bool,
}

impl Round {
    /// A round of which only the fate is reported.
    pub(super) const fn new(message: Message, body: Bytes, fate: Fate) -> Self {
        Self {
            message,
            body,
            fate,
            freeze: None,
            kinds: Vec::new(),
            relayed: Vec::new(),
            by_hand: false,
            tells: true,
        }
    }
}
