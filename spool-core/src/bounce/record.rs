//! The record of notices about a message.

use crate::attempt::RecipientIndex;
use crate::clock::Timestamp;
use crate::id::MessageId;
use derive_more::Display;
use serde::{Deserialize, Serialize};

/// The action of a recipient in a notice, as in RFC 3464 section 2.3.3. On disk each variant is identified by its
/// position: new ones are added at the end.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is still being tried.
    Delayed,
    /// A next hop that sends no notices accepted it.
    Relayed,
}

/// A notice about some recipients, or a notice that was not wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// The action.
    pub action: Action,
    /// The recipients.
    pub recipients: Vec<RecipientIndex>,
    /// The message with the notice; `None` if no notice was wanted (NOTIFY).
    pub id: Option<MessageId>,
}

/// What is known of the notices about a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notices {
    /// The submitter is not known, so that no notice is returned unless an operator asks for it: the reverse-path may
    /// be forged.
    pub unknown_submitter: bool,
    /// In order. A recipient is in at most one notice of each action, so there are at most as many as recipients, plus
    /// one.
    pub given: Vec<Notice>,
}

impl Notices {
    /// Whether nothing is recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.unknown_submitter && self.given.is_empty()
    }

    /// Whether the delay was reported, or no notice was wanted. That happens once.
    #[must_use]
    pub fn told_of_delay(&self) -> bool {
        self.given.iter().any(|notice| notice.action == Action::Delayed)
    }

    /// The notice about a failed recipient.
    #[must_use]
    pub fn of_failed(&self, recipient: RecipientIndex) -> Option<&Notice> {
        let about =
            |notice: &&Notice| notice.action == Action::Failed && notice.recipients.contains(&recipient);
        self.given.iter().find(about)
    }
}
