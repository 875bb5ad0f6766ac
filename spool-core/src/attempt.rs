//! One try to relay a message, as its next hop answered it and as the spool remembers it for ever.

use crate::clock::Timestamp;
use crate::id::FlowId;
use crate::next_hop::NextHop;
use crate::reply::{EnhancedCode, Reply};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The place of a recipient in [`crate::Envelope::recipients`].
pub type RecipientIndex = u32;

/// Where in a session something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// The connection and its greeting.
    Connect,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS or the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA and its 354.
    Data,
    /// The body.
    Body,
    /// The reply to the final dot.
    FinalReply,
    /// Before any session: the way to the next hop, as DNS has it. The reply is the spool's own.
    Route,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Hello => "EHLO",
            Self::Tls => "TLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "body",
            Self::FinalReply => "final reply",
            Self::Route => "route",
        })
    }
}

/// A recipient that the next hop did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecipient {
    /// Which.
    pub recipient: RecipientIndex,
    /// The reply to its RCPT.
    pub reply: Reply,
}

/// How an attempt ended. A new variant goes to the end: on disk each is known by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptResult {
    /// The body was taken for every recipient that was not refused.
    Accepted(Reply),
    /// Every RCPT was refused; no body was sent.
    AllRefused,
    /// The session, the sender, DATA or the body was refused.
    Refused {
        /// What was refused.
        stage: Stage,
        /// With which words.
        reply: Reply,
    },
    /// No next hop could be reached. Nothing was sent.
    NoConnection {
        /// One line for each next hop that was tried.
        error: String,
    },
    /// The session broke off: timeout, reset, nonsense.
    Broken {
        /// Where.
        stage: Stage,
        /// Why, in one line.
        error: String,
        /// Whether the peer may hold the message all the same.
        in_doubt: bool,
    },
    /// The process ended during the attempt: the peer may hold the message.
    Interrupted,
    /// The attempt itself failed (a defect: it panicked).
    Panicked {
        /// What it said.
        text: String,
    },
    /// Nothing was tried, for want of something on this side. It is no attempt: it is in no record and takes no interval, and the message
    /// waits a moment at the head of its line.
    NotBegun {
        /// For want of what, in one line.
        reason: String,
    },
}

/// What a [`crate::DeliveryAgent`] says about one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptReport {
    /// The next hop that was reached, or the last one tried.
    pub peer: Option<NextHop>,
    /// The outbound session.
    pub session: Option<FlowId>,
    /// What protected the session: TLS version, cipher, fingerprint of the certificate, and whether that was verified; or
    /// why there was plaintext where TLS had failed. `None`: no TLS, and none that failed.
    pub tls: Option<String>,
    /// The end of it.
    pub result: AttemptResult,
    /// Recipients refused one by one.
    pub refused: Vec<RefusedRecipient>,
}

impl AttemptReport {
    /// A report with nothing but an end.
    #[must_use]
    pub const fn new(result: AttemptResult) -> Self {
        Self {
            peer: None,
            session: None,
            tls: None,
            result,
            refused: Vec::new(),
        }
    }
}

/// One attempt in a message's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What came of it.
    pub report: AttemptReport,
}

impl Attempt {
    /// How long it took.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Whether the peer may hold the message although no final reply was read.
    #[must_use]
    pub const fn in_doubt(&self) -> bool {
        matches!(
            self.report.result,
            AttemptResult::Interrupted
                | AttemptResult::Panicked { .. }
                | AttemptResult::Broken { in_doubt: true, .. }
        )
    }
}

impl fmt::Display for AttemptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(reply) => write!(f, "accepted: {reply}"),
            Self::AllRefused => f.write_str("all recipients refused"),
            Self::Refused { stage, reply } => write!(f, "refused at {stage}: {reply}"),
            Self::NoConnection { error } => write!(f, "no connection: {error}"),
            Self::NotBegun { reason } => write!(f, "not begun: {reason}"),
            Self::Broken { stage, error, .. } => write!(f, "broken at {stage}: {error}"),
            Self::Interrupted => f.write_str("interrupted: the process ended during the attempt"),
            Self::Panicked { text } => write!(f, "the attempt failed: {text}"),
        }
    }
}

/// Whether a reply speaks of a rate limit: 421 and 450 to 452 with the enhanced codes or the words for it.
#[must_use]
pub fn is_rate_limit(reply: &Reply) -> bool {
    if !matches!(reply.code, 421 | 450..=452) {
        return false;
    }
    // 4.7.28: RFC 8617 aside, the code registered for sending rates; 4.7.0 and 4.3.2 are used with the words below.
    if matches!(
        reply.enhanced,
        Some(EnhancedCode(4, 7, 28) | EnhancedCode(4, 3, 2))
    ) {
        return true;
    }
    let text = reply.text.to_ascii_lowercase();
    [
        "rate limit",
        "rate-limit",
        "ratelimit",
        "throttl",
        "too many",
        "too fast",
        "slow down",
        "exceeded the rate",
    ]
    .iter()
    .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_are_known_by_code_or_words() {
        assert!(is_rate_limit(&Reply::new(
            421,
            "4.7.28 our system has detected an unusual rate"
        )));
        assert!(is_rate_limit(&Reply::new(450, "Too many messages, slow down")));
        assert!(!is_rate_limit(&Reply::new(450, "4.2.0 greylisted")));
        assert!(!is_rate_limit(&Reply::new(550, "5.7.1 too many messages")));
    }
}
