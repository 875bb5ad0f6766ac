//! What a message's record keeps of the notices about it.

use crate::attempt::RecipientIndex;
use crate::clock::Timestamp;
use crate::id::MessageId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a notice says of a recipient: the Action field of RFC 3464 section 2.3.3, as far as a relay has a use for it. On disk each variant is
/// known by its place: a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is still being tried.
    Delayed,
    /// A next hop that sends no notices took it.
    Relayed,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
        })
    }
}

/// What was told, or not, of some recipients in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What became of them.
    pub action: Action,
    /// Whom it is about.
    pub recipients: Vec<RecipientIndex>,
    /// The message that tells it; `None`: nobody wanted to be told (NOTIFY).
    pub id: Option<MessageId>,
}

/// What is known of the notices about a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notices {
    /// The submitter is not known, so that no notice is returned of our own accord: the reverse-path may be forged.
    pub unknown_submitter: bool,
    /// In the order in which they were given. A recipient is in at most one of each action, so there are at most as many as recipients
    /// and one more.
    pub given: Vec<Notice>,
}

impl Notices {
    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.unknown_submitter && self.given.is_empty()
    }

    /// Whether it was told, or nobody wanted to be told, that the message is late. That happens once.
    #[must_use]
    pub fn told_of_delay(&self) -> bool {
        self.given.iter().any(|notice| notice.action == Action::Delayed)
    }

    /// The notice that settled a failed recipient.
    #[must_use]
    pub fn of_failed(&self, recipient: RecipientIndex) -> Option<&Notice> {
        let about =
            |notice: &&Notice| notice.action == Action::Failed && notice.recipients.contains(&recipient);
        self.given.iter().find(about)
    }
}
