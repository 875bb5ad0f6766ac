//! What a submitter adds at once.

use crate::error::AddError;
use crate::id::{FlowId, MessageId};
use crate::key::{AddKey, Fingerprint};
use crate::message::Section;
use crate::routing::Routing;
use bytes::Bytes;

/// The most sections of one add: reading one of them reads all.
pub const MAX_SECTIONS: usize = 10_000;

/// What is added at once: sections that share a body.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// At least one.
    pub sections: Vec<Section>,
    /// Lines ended by CRLF, not dot-stuffed.
    pub body: Bytes,
    /// Whether the messages are spooled frozen, and wait for `send`. By default they are delivered at once.
    pub frozen: bool,
    /// Ids that tie the messages to where they came from.
    pub flows: Vec<FlowId>,
    /// The message that these sections descend from (a notice has its original as the parent).
    pub parent: Option<MessageId>,
    /// Other messages that are related to these.
    pub related: Vec<MessageId>,
    /// The submitter's idempotency key: within the window, a submission with the same key returns the ids of the first
    /// one and spools nothing. 1 to 255 bytes.
    pub key: Option<String>,
    /// The fingerprint of what the submitter handed over, for a body that was completed or signed afterwards. With it the
    /// submitter can repeat the add under its idempotency key. `None`: the fingerprint of this submission.
    pub fingerprint: Option<Fingerprint>,
    /// The routing that gave the sections their next hops, if known. If the spool has another routing when it takes the mail,
    /// it looks up again the routes that no submitter named.
    pub routing: Option<Routing>,
    /// Whether the reverse-path is not authenticated. The spool returns a notice to it only when an operator asks for one, and
    /// freezes messages whose recipients fail.
    pub unknown_submitter: bool,
}

impl Submission {
    /// Sections that share `body`, to be sent at once.
    #[must_use]
    pub fn new(sections: Vec<Section>, body: Bytes) -> Self {
        Self {
            sections,
            body,
            ..Self::default()
        }
    }

    /// Checks everything that does not depend on the spool: the number of sections and recipients, the next hops, and
    /// the length of the key.
    ///
    /// # Errors
    /// [`AddError::Invalid`]; [`AddError::TooManyRecipients`] when it has more than `max_recipients` in all of its sections.
    pub fn check(&self, max_recipients: usize) -> Result<(), AddError> {
        let invalid = |why: &str| Err(AddError::Invalid(why.to_owned()));
        if self.sections.is_empty() || self.sections.len() > MAX_SECTIONS {
            return invalid("an add needs between 1 and 10,000 sections");
        }
        let recipients = |section: &Section| section.envelope.recipients.len();
        let count = self.sections.iter().map(recipients).sum();
        if count > max_recipients {
            return Err(AddError::TooManyRecipients {
                count,
                limit: max_recipients,
            });
        }
        if self.sections.iter().any(|section| recipients(section) == 0) {
            return invalid("an envelope needs a recipient");
        }
        if self.sections.iter().any(|section| section.next_hops.is_empty()) {
            return invalid("a section needs a next hop");
        }
        let key = self.key.as_ref().map(String::len);
        if key.is_some_and(|length| !(1..=255).contains(&length)) {
            return invalid("an idempotency key has 1 to 255 bytes");
        }
        Ok(())
    }

    /// The idempotency key with the fingerprint of what is added under it.
    #[must_use]
    pub fn add_key(&self) -> Option<AddKey> {
        let key = self.key.clone()?;
        let own = || Fingerprint::of(&self.sections, &self.body);
        Some(AddKey {
            key,
            fingerprint: Some(self.fingerprint.unwrap_or_else(own)),
        })
    }
}
