//! Events, for subscribers. An event is sent only after the disk holds what it reports.

use crate::bounce::Action;
use crate::clock::Timestamp;
use crate::hooks::Presend;
use crate::id::{FlowId, MessageId};
use crate::message::Queue;
use crate::next_hop::NextHop;
use crate::summary::EnvelopeSummary;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kinds of event. Their order is part of the journal's format: new ones are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// On the spool.
    Spooled,
    /// All recipients are done; the message has left the spool.
    Delivered,
    /// Frozen: waits for an operator.
    Frozen,
    /// Removed by an operator.
    Removed,
    /// No longer frozen.
    Unfrozen,
    /// Recovered from an archive.
    Recovered(Queue),
    /// Quarantined, with the reason.
    Quarantined(String),
    /// Tried; the next attempt is at this time.
    Delayed(Timestamp),
    /// The same, because the next hop asked for slower sending.
    DelayedRateLimited(Timestamp),
    /// Recipients failed, and a notice about that was spooled.
    Bounced,
    /// Expired.
    Expired,
    /// An attempt ended without its final reply: the next hop may have the message.
    InDoubt,
    /// Still here. Every 30 seconds.
    Ping,
    /// This subscriber missed this many events.
    Gap(u64),
    /// The decision of the presend hook.
    Presend(Presend),
    /// Has another route: these next hops. Sent when the route is recorded: at once when an operator changes it, and
    /// before the next attempt when the configuration changed.
    Rerouted(Arc<[NextHop]>),
    /// A notice to the submitter about recipients.
    Notice {
        /// What became of them.
        action: Action,
        /// The message with the notice; `None` when no notice was wanted.
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
    /// Why the message is frozen, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind.
    pub kind: EventKind,
}

impl Event {
    /// An event without a message.
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
