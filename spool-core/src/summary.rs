//! An entry of a status listing, of a running spool or of a directory.

use crate::clock::Timestamp;
use crate::frozen::FrozenKind;
use crate::id::MessageId;
use crate::message::{Message, Queue, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::reason::{frozen_kind, reason};
use crate::store::{Archive, Archived};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The status as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShownStatus {
    /// Due.
    SendNow,
    /// Waiting until then.
    SendAt(Timestamp),
    /// A session is running.
    Sending,
    /// Frozen.
    Frozen,
    /// In the archive of removed messages.
    Removed,
    /// In quarantine.
    Quarantined,
}

impl ShownStatus {
    /// Where a message with this status is kept.
    #[must_use]
    pub const fn queue(self) -> Queue {
        match self {
            Self::SendNow | Self::SendAt(_) | Self::Sending => Queue::Active,
            Self::Frozen => Queue::Frozen,
            Self::Removed => Queue::Removed,
            Self::Quarantined => Queue::Quarantine,
        }
    }

    /// How the status on disk reads at `now`: a `SendAt` in the past is `SendNow`.
    #[must_use]
    pub fn at(status: Status, now: Timestamp) -> Self {
        match status {
            Status::Frozen => Self::Frozen,
            Status::SendAt(due) if due <= now => Self::SendNow,
            Status::SendAt(due) => Self::SendAt(due),
        }
    }

    /// When the next attempt is, if a time is set.
    #[must_use]
    pub const fn next_attempt(self) -> Option<Timestamp> {
        match self {
            Self::SendAt(due) => Some(due),
            Self::SendNow | Self::Sending | Self::Frozen | Self::Removed | Self::Quarantined => None,
        }
    }

    /// Whether it is `Frozen`.
    #[must_use]
    pub const fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen)
    }
}

impl fmt::Display for ShownStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SendNow => f.write_str("send now"),
            Self::SendAt(due) => write!(f, "send at {due}"),
            Self::Sending => f.write_str("sending"),
            Self::Frozen => f.write_str("frozen"),
            Self::Removed => f.write_str("removed"),
            Self::Quarantined => f.write_str("quarantined"),
        }
    }
}

/// Sender and recipients; only when asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSummary {
    /// The reverse-path, empty when null.
    pub sender: String,
    /// Recipients not yet delivered.
    pub recipients: Vec<String>,
    /// Bytes of the body.
    pub size: u64,
}

impl EnvelopeSummary {
    /// The whole envelope of `message`, including recipients that are done. Events use it, since it never changes.
    #[must_use]
    pub fn whole(message: &Message) -> Self {
        let recipients = message.envelope.recipients.iter();
        Self {
            sender: message.envelope.reverse_path.as_str().to_owned(),
            recipients: recipients
                .map(|recipient| recipient.address.to_string())
                .collect(),
            size: message.body_size,
        }
    }

    /// The envelope of `message`, without recipients that are done.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let address = |index| Some(message.envelope.recipient(index)?.address.to_string());
        let failed = message.state.failed.iter().map(|failed| failed.recipient);
        Self {
            sender: message.envelope.reverse_path.as_str().to_owned(),
            recipients: message
                .state
                .remaining
                .iter()
                .copied()
                .chain(failed)
                .filter_map(address)
                .collect(),
            size: message.body_size,
        }
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSummary {
    /// Its id.
    pub id: MessageId,
    /// Where it is kept.
    pub queue: Queue,
    /// When it is due, or why it is not.
    pub status: ShownStatus,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// Next hops in order. None if there is no route in this process.
    pub next_hops: Arc<[NextHop]>,
    /// Where the next hops come from.
    #[serde(default, rename = "route")]
    pub origin: RouteOrigin,
    /// Sender and recipients, when asked for.
    #[serde(flatten)]
    pub envelope: Option<EnvelopeSummary>,
    /// Why it waits, or why it cannot be read, in one line. With the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind of the reason of a frozen message. With the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenKind>,
    /// Whether it cannot be read. Then only its id and its place are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

impl MessageSummary {
    /// An entry for a message read from disk, as of `now`.
    #[must_use]
    pub fn of(message: &Message, now: Timestamp) -> Self {
        let status = ShownStatus::at(message.state.status, now);
        Self {
            id: message.id,
            queue: status.queue(),
            status,
            spooled_at: message.spooled_at,
            next_hops: Arc::clone(&message.next_hops),
            origin: message.origin,
            envelope: Some(EnvelopeSummary::of(message)),
            reason: reason(&message.state),
            frozen: frozen_kind(&message.state),
            unreadable: false,
        }
    }

    /// An entry for an archived message, or for what is wrong with its files.
    #[must_use]
    pub fn of_archived(id: MessageId, archive: Archive, archived: Result<&Archived, &String>) -> Self {
        let status = match archive {
            Archive::Removed => ShownStatus::Removed,
            Archive::Quarantine => ShownStatus::Quarantined,
        };
        let nothing = Self {
            id,
            queue: archive.queue(),
            status,
            spooled_at: id.made_at(),
            next_hops: [].into(),
            origin: RouteOrigin::default(),
            envelope: None,
            reason: None,
            frozen: None,
            unreadable: false,
        };
        match archived {
            Ok(Archived { message, reason, .. }) => Self {
                spooled_at: message.spooled_at,
                next_hops: Arc::clone(&message.next_hops),
                origin: message.origin,
                envelope: Some(EnvelopeSummary::of(message)),
                reason: reason.clone(),
                ..nothing
            },
            Err(why) => {
                let mut summary = nothing;
                summary.set_unreadable(why.clone());
                summary
            }
        }
    }

    /// Notes that the message cannot be read, and why.
    pub fn set_unreadable(&mut self, why: String) {
        self.unreadable = true;
        self.reason = Some(why);
    }
}
