//! A message: one spooled section, with everything the spool knows of it.
//!
//! [`Message`] has what never changes after the add, and [`MessageState`] what does; the journal records the state
//! again and again. The body stays on disk until an attempt needs it.

use crate::attempt::RecipientIndex;
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::next_hop::NextHop;
use crate::related::Related;
use crate::reply::Reply;
use crate::retry::{RetryInterval, RetryPolicy, Schedule};
use derive_more::Display;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Where the next hops of a section come from. On disk each variant is known by its place: a new one goes to the end.
#[derive(Debug, Display, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RouteOrigin {
    /// The submitter named them; they do not change. Also assumed of mail of format 1, which did not record the origin.
    #[default]
    Named,
    /// The service's configuration led there. They are resolved again before each attempt; the recorded next hops are
    /// those of the last time, for listings.
    Configured,
    /// The built-in sink of a service without a route. Its address differs in each run.
    #[display("built-in sink")]
    BuiltInSink,
}

/// One envelope of a submission, with its next hops and its retry policy. The order of the fields is the journal's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where the next hops come from. Format 1 did not record it.
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    pub origin: RouteOrigin,
    /// Next hops in order; the first that answers is used. At least one.
    pub next_hops: Arc<[NextHop]>,
    /// How it is retried.
    pub retry: RetryPolicy,
    /// Sender, recipients, parameters.
    pub envelope: Envelope,
}

/// The recorded status. Whether a message is due or being sent is not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Due at this time; a past time means now.
    SendAt(Timestamp),
    /// Frozen: waits for an operator.
    Frozen,
}

/// A recipient that will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecipient {
    /// Which.
    pub recipient: RecipientIndex,
    /// The reply that made it fail, if there was one.
    pub reply: Option<Reply>,
    /// The reason, in one line.
    pub reason: String,
}

/// The part of a message that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    /// When it is due, or that it is frozen.
    pub status: Status,
    /// Since when and why it is frozen. `None` if that was not recorded (format 1), or if it is not frozen.
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    pub frozen: Option<Box<Frozen>>,
    /// The start of an attempt whose end is not recorded.
    pub in_flight: Option<Timestamp>,
    /// Recipients still to be tried.
    pub remaining: Vec<RecipientIndex>,
    /// Recipients that failed.
    pub failed: Vec<FailedRecipient>,
    /// The retry intervals that are left.
    pub schedule: Schedule,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The attempts so far.
    pub attempts: Attempts,
    /// The notices about it. Formats 1 and 2 had none.
    #[serde(deserialize_with = "crate::since::format::<3, _, _>")]
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
            attempts: Attempts::default(),
            notices: Notices::default(),
        }
    }

    /// Sets the status; `frozen` says why when that is [`Status::Frozen`].
    pub fn set_status(&mut self, status: Status, frozen: Option<Box<Frozen>>) {
        self.status = status;
        self.frozen = frozen.filter(|_| status == Status::Frozen);
    }

    /// Every remaining recipient has failed, for `reason`.
    pub(crate) fn fail_remaining(&mut self, reason: &str) {
        let failed = self.remaining.drain(..).map(|recipient| FailedRecipient {
            recipient,
            reply: None,
            reason: reason.to_owned(),
        });
        self.failed.extend(failed);
    }

    /// The wait after its last attempt; `None` when it does not wait for a retry.
    #[must_use]
    pub fn retry_wait(&self) -> Option<Duration> {
        let (Status::SendAt(due), Some(last)) = (self.status, self.attempts.last()) else {
            return None;
        };
        Some(due.since(last.at.after(Duration::from_millis(last.duration_ms))))
    }

    /// The state when an operator sends the message now: due, with failed recipients remaining again, and the `extra`
    /// intervals before those that are left. An expired message is tried once.
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
    /// Its id.
    pub id: MessageId,
    /// The message it descends from.
    pub parent: Option<MessageId>,
    /// The other messages of its add, and those that the submitter named.
    pub related: Related,
    /// Its flows.
    pub flows: Vec<FlowId>,
    /// When it was spooled.
    pub spooled_at: Timestamp,
    /// Next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// Where the next hops come from.
    pub origin: RouteOrigin,
    /// Sender, recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// Bytes of the body.
    pub body_size: u64,
    /// The part that changes.
    pub state: MessageState,
}

/// Where a message is kept.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "snake_case")]
pub enum Queue {
    /// In the journal, to be sent.
    Active,
    /// In the journal, frozen.
    Frozen,
    /// Removed by an operator.
    Removed,
    /// Set aside for inspection.
    Quarantine,
}

impl std::str::FromStr for Queue {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::deserialize(text.into_deserializer());
        named.map_err(|_: serde::de::value::Error| {
            format!("{text}: a queue is active, frozen, removed or quarantine")
        })
    }
}
