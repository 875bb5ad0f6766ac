//! One message as the API returns it and `show` prints it: made from the record of the spool or of a directory, and read back
//! by the command line.
//!
//! It never has the body, and every text of a peer in it is one line without hidden characters.

mod make;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};
use spool_core::bounce::Action;
use spool_core::{
    FlowId, Message, MessageId, NextHop, Queue, RecipientIndex, Reply, RetryInterval, RouteOrigin,
    ShownStatus, Stage, Timestamp,
};
use std::sync::Arc;

/// Everything about one message but its body. Times are as RFC 3339 writes them, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) id: MessageId,
    pub(crate) queue: Queue,
    pub(crate) status: ShownStatus,
    pub(crate) reason: Option<String>,
    pub(crate) spooled_at: Timestamp,
    pub(crate) next_attempt: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Begin of the running attempt, or of one whose end is not known.
    pub(crate) in_flight: Option<Timestamp>,
    pub(crate) size: u64,
    pub(crate) sender: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) recipients: Vec<RecipientPage>,
    pub(crate) next_hops: Arc<[NextHop]>,
    /// The next hops after the running attempt, if the message was rerouted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_hops_afterwards: Option<Arc<[NextHop]>>,
    /// Where they come from: `named`, `configured` or `built_in_sink`.
    pub(crate) route: RouteOrigin,
    /// The retry intervals that are left, in milliseconds.
    pub(crate) retry_intervals: Vec<RetryInterval>,
    pub(crate) repeat_last: bool,
    pub(crate) attempts: Vec<AttemptPage>,
    /// How many attempts after the first one are not listed.
    pub(crate) attempts_left_out: u64,
    pub(crate) parent: Option<MessageId>,
    /// The notices to its sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<NoticePage>,
    /// Whether its submitter is not known, so that no notice is returned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown_submitter: bool,
    pub(crate) related: Vec<MessageId>,
    /// Of a message that was divided among its routes, the other parts, as far as they are on the spool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<MessageId>,
    pub(crate) flows: Vec<FlowId>,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecipientPage {
    pub(crate) address: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) fate: RecipientFate,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    /// The reply with which it failed.
    pub(crate) reply: Option<Reply>,
}

/// A notice to the sender about some recipients, or that none was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticePage {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
    /// The message with the notice; none when none was wanted.
    pub(crate) id: Option<MessageId>,
    pub(crate) recipients: Vec<String>,
}

impl NoticePage {
    /// All notices of a message.
    pub(crate) fn of(message: &Message) -> Vec<Self> {
        let address = |index: &RecipientIndex| Some(message.envelope.recipient(*index)?.address.to_string());
        let given = message.state.notices.given.iter().map(|notice| Self {
            at: notice.at,
            action: notice.action,
            id: notice.id,
            recipients: notice.recipients.iter().filter_map(address).collect(),
        });
        given.collect()
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let (at, action) = (self.at, self.action);
        match self.id {
            Some(id) => format!("{at} {action}: a notice was returned as {id}"),
            None => format!("{at} {action}: no notice was wanted"),
        }
    }
}

/// The state of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecipientFate {
    /// Still to be tried.
    Remaining,
    /// Given up.
    Failed,
    /// Given up, and a notice was returned, or none was wanted.
    Bounced,
    /// Delivered, according to the record.
    Done,
    /// No attempt of this message has delivered to it, and none will: the message was divided, or a hook handled it.
    Elsewhere,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttemptPage {
    pub(crate) at: Timestamp,
    pub(crate) duration_ms: u64,
    pub(crate) peer: Option<NextHop>,
    pub(crate) tls: Option<String>,
    pub(crate) session: Option<FlowId>,
    /// `accepted`, `all_refused`, `refused`, `no_connection`, `broken`, `interrupted` or `panicked`.
    pub(crate) outcome: String,
    pub(crate) stage: Option<Stage>,
    pub(crate) code: Option<u16>,
    pub(crate) enhanced: Option<String>,
    pub(crate) text: String,
    /// Whether the peer may have the message nevertheless.
    pub(crate) in_doubt: bool,
    pub(crate) refused: Vec<RefusedPage>,
}

/// A recipient that an attempt's peer refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedPage {
    pub(crate) address: String,
    pub(crate) code: u16,
    pub(crate) enhanced: Option<String>,
    pub(crate) text: String,
}
