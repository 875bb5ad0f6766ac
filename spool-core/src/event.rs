//! What happened, for whoever subscribes. An event is sent only after the disk holds what it reports.

use crate::bounce::Action;
use crate::clock::Timestamp;
use crate::hooks::Presend;
use crate::id::{FlowId, MessageId};
use crate::message::Queue;
use crate::next_hop::NextHop;
use crate::summary::EnvelopeSummary;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kinds of event. Their order is part of the journal's format: a new one comes last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// On the spool.
    Spooled,
    /// Off the spool: every recipient was taken.
    Delivered,
    /// Waits for a person.
    Frozen,
    /// Taken off the spool by a person.
    Removed,
    /// No longer frozen.
    Unfrozen,
    /// Back on the spool.
    Recovered(Queue),
    /// Set aside, with the reason.
    Quarantined(String),
    /// Tried, to be tried again then.
    Delayed(Timestamp),
    /// The same, because the next hop asked for slower sending.
    DelayedRateLimited(Timestamp),
    /// Recipients failed, and a notice about that was spooled.
    Bounced,
    /// Given up because it became too old.
    Expired,
    /// An attempt ended without its final reply: the next hop may hold the message.
    InDoubt,
    /// Still here. Every 30 seconds.
    Ping,
    /// This subscriber missed so many events.
    Gap(u64),
    /// The presend hook was asked, and decided so.
    Presend(Presend),
    /// Has another route: these next hops. Told when it is written: at once when a person gives it, and before the next attempt when it
    /// follows from a change of the configuration.
    Rerouted(Arc<[NextHop]>),
    /// Its submitter is told what became of recipients.
    Notice {
        /// What became of them.
        action: Action,
        /// The message that tells it; `None`: nobody wanted to be told.
        id: Option<MessageId>,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Counts every event of a spool; `Ping` and `Gap` carry the number of the last one.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Of which message.
    pub id: Option<MessageId>,
    /// Its flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowId>,
    /// Its envelope in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Arc<EnvelopeSummary>>,
    /// In one line, why, when it tells that the message is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What.
    pub kind: EventKind,
}

impl Event {
    /// An event of no message, without flows or envelope.
    #[must_use]
    pub const fn new(seq: u64, at: Timestamp, kind: EventKind) -> Self {
        Self {
            seq,
            at,
            id: None,
            flows: Vec::new(),
            envelope: None,
            reason: None,
            kind,
        }
    }
}
