//! An entry of a status listing, of a running spool or of a directory.

use crate::clock::Timestamp;
use crate::envelope::{Envelope, Recipient};
use crate::frozen::FrozenKind;
use crate::id::MessageId;
use crate::message::{Message, Queue, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::reason::{frozen_kind, reason};
use crate::store::{Archive, Archived};
use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The status as a listing shows it.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ShownStatus {
    /// Due.
    #[display("send now")]
    SendNow,
    /// Waiting until then.
    #[display("send at {_0}")]
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
    /// Of an envelope, with these of its recipients.
    pub fn new<'a>(
        envelope: &Envelope,
        recipients: impl IntoIterator<Item = &'a Recipient>,
        size: u64,
    ) -> Self {
        let recipients = recipients.into_iter();
        Self {
            sender: envelope.reverse_path.as_str().to_owned(),
            recipients: recipients.map(|to| to.address.to_string()).collect(),
            size,
        }
    }

    /// The whole envelope of `message`, including recipients that are done. Events use it, since it never changes.
    #[must_use]
    pub fn whole(message: &Message) -> Self {
        Self::new(&message.envelope, &message.envelope.recipients, message.body_size)
    }

    /// The envelope of `message`, without recipients that are done.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let failed = message.state.failed.iter().map(|failed| failed.recipient);
        let left = message.state.remaining.iter().copied().chain(failed);
        let left = left.filter_map(|index| message.envelope.recipient(index));
        Self::new(&message.envelope, left, message.body_size)
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
        match archived {
            Ok(Archived { message, reason, .. }) => Self {
                id,
                queue: archive.queue(),
                status,
                reason: reason.clone(),
                frozen: None,
                ..Self::of(message, message.spooled_at)
            },
            Err(why) => Self {
                id,
                queue: archive.queue(),
                status,
                spooled_at: id.made_at(),
                next_hops: [].into(),
                origin: RouteOrigin::default(),
                envelope: None,
                reason: Some(why.clone()),
                frozen: None,
                unreadable: true,
            },
        }
    }

    /// Notes that the message cannot be read, and why.
    pub fn set_unreadable(&mut self, why: String) {
        self.unreadable = true;
        self.reason = Some(why);
    }
}
