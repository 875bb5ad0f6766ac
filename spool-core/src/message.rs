//! A message: one spooled section, with everything the spool knows of it.
//!
//! [`Message`] has what never changes after the add, and [`MessageState`] what does; the journal records the state
//! again and again. The body stays on disk until an attempt needs it.

use crate::attempt::RecipientIndex;
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::error::AddError;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::next_hop::NextHop;
use crate::related::Related;
use crate::reply::Reply;
use crate::retry::{RetryInterval, RetryPolicy, Schedule};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where the next hops of a section come from. On disk each variant is known by its place: a new one goes to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouteOrigin {
    /// The submitter named them; they stay. So it is assumed of all mail of format 1, which did not say.
    #[default]
    Named,
    /// The service's configuration led there. It is resolved anew whenever the mail is to be sent; the next hops kept are those of
    /// the last time, for listings.
    Configured,
    /// The built-in sink of a service without a route. Its address is another one in each run.
    BuiltInSink,
}

impl fmt::Display for RouteOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named",
            Self::Configured => "configured",
            Self::BuiltInSink => "built-in sink",
        })
    }
}

/// One envelope of a submission, with its next hops and its retry policy. The order of the fields is the journal's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where the next hops come from.
    pub origin: RouteOrigin,
    /// Next hops in order; the first that answers is used. At least one.
    pub next_hops: Arc<[NextHop]>,
    /// How it is retried.
    pub retry: RetryPolicy,
    /// Sender, recipients, parameters.
    pub envelope: Envelope,
}

/// The most sections of one add: all of them are read to look at one of them.
pub const MAX_SECTIONS: usize = 10_000;

/// The status a message starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitialStatus {
    /// Deliver at once.
    #[default]
    SendNow,
    /// Wait for `send`.
    Frozen,
}

/// What is handed to the spool in one add: sections that share a body.
#[derive(Debug, Clone)]
pub struct Submission {
    /// At least one.
    pub sections: Vec<Section>,
    /// Lines ended by CRLF, not dot-stuffed.
    pub body: Bytes,
    /// What to do first.
    pub initial: InitialStatus,
    /// Ids that tie the messages to where they came from.
    pub flows: Vec<FlowId>,
    /// The message these sections descend from (a bounce names its original).
    pub parent: Option<MessageId>,
    /// Other messages that belong to these.
    pub related: Vec<MessageId>,
    /// The submitter's name for this add: within the window, adding it again gives the ids of the first time and
    /// spools nothing. 1 to 255 bytes.
    pub key: Option<String>,
}

impl Submission {
    /// Whether it is valid, whatever the spool holds: the number of its sections and of its recipients, next hops, and the length of
    /// its key.
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
}

/// The status on disk; what is due, being sent, or gone is for the spool to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Due at this time; a past time means now.
    SendAt(Timestamp),
    /// Waits for a person.
    Frozen,
}

impl Status {
    /// The status that [`InitialStatus`] becomes at `now`.
    #[must_use]
    pub const fn initial(initial: InitialStatus, now: Timestamp) -> Self {
        match initial {
            InitialStatus::SendNow => Self::SendAt(now),
            InitialStatus::Frozen => Self::Frozen,
        }
    }
}

/// A recipient that will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecipient {
    /// Which.
    pub recipient: RecipientIndex,
    /// The words that settled it, when a peer said any.
    pub reply: Option<Reply>,
    /// In one line, why.
    pub reason: String,
}

/// What changes in a message's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    /// What to do next.
    pub status: Status,
    /// Of a frozen message, since when and why. `None` where that was not recorded, and of one that is not frozen.
    pub frozen: Option<Box<Frozen>>,
    /// Begin of an attempt whose end is not recorded.
    pub in_flight: Option<Timestamp>,
    /// Recipients still to be tried.
    pub remaining: Vec<RecipientIndex>,
    /// Recipients given up.
    pub failed: Vec<FailedRecipient>,
    /// The waits to come.
    pub schedule: Schedule,
    /// When it is given up.
    pub expires_at: Option<Timestamp>,
    /// The attempts so far.
    pub attempts: Attempts,
    /// What its submitter was told.
    pub notices: Notices,
}

impl MessageState {
    /// The state of a section at its add.
    #[must_use]
    pub fn new(section: &Section, status: Status, now: Timestamp) -> Self {
        Self {
            status,
            frozen: None,
            in_flight: None,
            remaining: (0..).take(section.envelope.recipients.len()).collect(),
            failed: Vec::new(),
            schedule: Schedule::new(&section.retry),
            expires_at: section.retry.expire_after.map(|span| now.after(span)),
            attempts: Attempts::new(),
            notices: Notices::default(),
        }
    }

    /// Sets the status; `frozen` says why when that is [`Status::Frozen`].
    pub fn set_status(&mut self, status: Status, frozen: Option<Box<Frozen>>) {
        self.status = status;
        self.frozen = frozen.filter(|_| status == Status::Frozen);
    }

    /// How long the wait is that its last attempt ended with; `None` when it waits for no retry.
    #[must_use]
    pub fn retry_wait(&self) -> Option<Duration> {
        let (Status::SendAt(due), Some(last)) = (self.status, self.attempts.last()) else {
            return None;
        };
        Some(due.since(last.at.after(Duration::from_millis(last.duration_ms))))
    }

    /// The state when a person sends the message now: due, failed recipients among the remaining ones again, the
    /// `extra` intervals in front of those that are left. A message that had expired is tried once.
    #[must_use]
    pub fn send_now(mut self, extra: &[RetryInterval], now: Timestamp) -> Self {
        self.set_status(Status::SendAt(now), None);
        self.in_flight = None;
        let failed = self.failed.drain(..).map(|failed| failed.recipient);
        self.remaining.extend(failed);
        self.remaining.sort_unstable();
        self.schedule.prepend(extra);
        self
    }
}

/// One spooled section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name on this spool.
    pub id: MessageId,
    /// The message it descends from.
    pub parent: Option<MessageId>,
    /// The other messages of its add, and those that its submitter named.
    pub related: Related,
    /// What it is tied to.
    pub flows: Vec<FlowId>,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// Next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// Where they come from.
    pub origin: RouteOrigin,
    /// Sender, recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// Bytes of the body.
    pub body_size: u64,
    /// The rest.
    pub state: MessageState,
}

/// Where a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// In the journal, to be sent.
    Active,
    /// In the journal, waiting for a person.
    Frozen,
    /// Removed by a person.
    Removed,
    /// Set aside for inspection.
    Quarantine,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Removed => "removed",
            Self::Quarantine => "quarantine",
        })
    }
}

impl std::str::FromStr for Queue {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "frozen" => Ok(Self::Frozen),
            "removed" => Ok(Self::Removed),
            "quarantine" => Ok(Self::Quarantine),
            other => Err(format!(
                "{other}: a queue is active, frozen, removed or quarantine"
            )),
        }
    }
}
