//! A round: an attempt, an expiry or an operation that ends recipients of a message.

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
    /// Why it is frozen, if an operation asked for that.
    pub(super) freeze: Option<Box<Frozen>>,
    /// Whether the event of that is written.
    pub(super) freeze_told: bool,
    /// Events beside those that follow from the fate.
    pub(super) kinds: Vec<EventKind>,
    /// Recipients that asked for SUCCESS and were taken by a hop without DSN.
    pub(super) relayed: Vec<RecipientIndex>,
    /// An operator asked for a notice: only a null reverse-path prevents it.
    pub(super) by_hand: bool,
    /// Whether a notice may follow. `false`: another round follows at once and decides about the notice.
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
            freeze_told: false,
            kinds: Vec::new(),
            relayed: Vec::new(),
            by_hand: false,
            tells: true,
        }
    }
}
