//! One attempt to relay a message: what the next hop answered, and what the spool records.

use crate::clock::{Timestamp, millis};
use crate::id::FlowId;
use crate::next_hop::NextHop;
use crate::reply::{EnhancedCode, Reply};
use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// The place of a recipient in [`crate::Envelope::recipients`].
pub type RecipientIndex = u32;

/// Where in a session something happened.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stage {
    /// The connection and its greeting.
    Connect,
    /// EHLO or HELO.
    #[display("EHLO")]
    Hello,
    /// STARTTLS or the handshake.
    #[display(rename_all = "UPPERCASE")]
    Tls,
    /// AUTH.
    #[display(rename_all = "UPPERCASE")]
    Auth,
    /// MAIL.
    #[display(rename_all = "UPPERCASE")]
    Mail,
    /// RCPT.
    #[display(rename_all = "UPPERCASE")]
    Rcpt,
    /// DATA and its 354.
    #[display(rename_all = "UPPERCASE")]
    Data,
    /// The body.
    Body,
    /// The reply to the final dot.
    #[display("final reply")]
    FinalReply,
    /// Before any transaction: the route to the next hop in DNS, or the capabilities of the next hop. The reply is the
    /// spool's own.
    Route,
}

/// A recipient that the next hop refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecipient {
    /// Which.
    pub recipient: RecipientIndex,
    /// The reply to its RCPT.
    pub reply: Reply,
}

/// The result of an attempt. New variants are added at the end: on disk each is identified by its position.
#[derive(Debug, Display, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptResult {
    /// The message was accepted for every recipient that was not refused.
    #[display("accepted: {_0}")]
    Accepted(Reply),
    /// Every RCPT was refused; no body was sent.
    #[display("all recipients refused")]
    AllRefused,
    /// The session, the sender, DATA or the body was refused.
    #[display("refused at {stage}: {reply}")]
    Refused {
        /// What was refused.
        stage: Stage,
        /// The reply.
        reply: Reply,
    },
    /// No next hop could be reached. Nothing was sent.
    #[display("no connection: {error}")]
    NoConnection {
        /// One line for each next hop that was tried.
        error: String,
    },
    /// The session broke: timeout, reset, protocol error.
    #[display("broken at {stage}: {error}")]
    Broken {
        /// Where.
        stage: Stage,
        /// Why, in one line.
        error: String,
        /// Whether the peer may have the message.
        in_doubt: bool,
    },
    /// The process ended during the attempt: the peer may have the message.
    #[display("interrupted: the process ended during the attempt")]
    Interrupted,
    /// The attempt itself failed (a defect: it panicked).
    #[display("the attempt failed: {text}")]
    Panicked {
        /// What it said.
        text: String,
    },
    /// Nothing was sent, because the spool refused the start ([`Withdrawn`](crate::Withdrawn)). It does not count as an attempt: it is not
    /// recorded and uses no retry interval, and the message returns to the front of its queue.
    #[display("not begun: {reason}")]
    NotBegun {
        /// Why, in one line.
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
    /// The TLS of the session: version, cipher, fingerprint of the certificate, and whether it was verified; or why the
    /// session was in plaintext after TLS failed. `None` without TLS.
    pub tls: Option<String>,
    /// The result.
    pub result: AttemptResult,
    /// Recipients that were refused individually.
    pub refused: Vec<RefusedRecipient>,
    /// Recipients that asked for a SUCCESS notice and were accepted by a host without DSN. Not recorded.
    #[serde(skip)]
    pub without_dsn: Vec<RecipientIndex>,
    /// The other hosts of the attempt, in the order in which they were tried. In the record of a message each becomes
    /// an attempt.
    #[serde(skip)]
    pub before: Vec<HostReport>,
    /// The report of the deciding host alone, if there are others: `refused` also has recipients that the others
    /// refused. In the record of a message it replaces this report.
    #[serde(skip)]
    pub own: Option<Box<HostReport>>,
    /// The address of the peer, if a session was opened. For the log only.
    #[serde(skip)]
    pub address: Option<IpAddr>,
    /// The time from having a session to the end. For the log only.
    #[serde(skip)]
    pub transmission: Option<Duration>,
}

/// The report of one host in an attempt that another host decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// Its place among the hosts of the attempt, from 0.
    pub number: usize,
    /// The time from the start of the attempt until this host was tried.
    pub after: Duration,
    /// How long it took.
    pub took: Duration,
    /// The report of this host; it has no other hosts.
    pub report: AttemptReport,
}

impl AttemptReport {
    /// A report with a result and nothing else.
    #[must_use]
    pub const fn new(result: AttemptResult) -> Self {
        Self {
            peer: None,
            session: None,
            tls: None,
            result,
            refused: Vec::new(),
            without_dsn: Vec::new(),
            before: Vec::new(),
            own: None,
            address: None,
            transmission: None,
        }
    }

    /// For each refused recipient, in order, the host that refused it; the deciding host if no other record has that
    /// reply.
    #[must_use]
    pub fn refusing_hosts(&self) -> Vec<Option<&NextHop>> {
        let mut hosts: Vec<&HostReport> = self.before.iter().chain(self.own.as_deref()).collect();
        hosts.sort_by_key(|host| host.number);
        let mut by_itself = HashMap::new();
        for host in &hosts {
            let refused = host.report.refused.iter();
            by_itself.extend(refused.map(|refused| (refused.recipient, (&refused.reply, *host))));
        }
        let said = |host: &HostReport, said: &Reply| matches!(&host.report.result, AttemptResult::Refused { reply, .. } if reply == said);
        let host_of = |refused: &RefusedRecipient| {
            let by_itself = by_itself.get(&refused.recipient);
            let by_itself = by_itself.filter(|(reply, _)| **reply == refused.reply);
            let with_all = || {
                hosts
                    .iter()
                    .rev()
                    .find(|host| said(host, &refused.reply))
                    .copied()
            };
            by_itself.map(|(_, host)| *host).or_else(with_all)
        };
        let hosts = self.refused.iter().map(|refused| match host_of(refused) {
            Some(host) => host.report.peer.as_ref(),
            None => self.peer.as_ref(),
        });
        hosts.collect()
    }

    /// Whether the peer may hold the message although no final reply was read.
    #[must_use]
    pub const fn in_doubt(&self) -> bool {
        matches!(
            self.result,
            AttemptResult::Interrupted
                | AttemptResult::Panicked { .. }
                | AttemptResult::Broken { in_doubt: true, .. }
        )
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

    /// The attempt as one record for each of its hosts, in the order in which they were tried.
    #[must_use]
    pub fn by_host(mut self) -> Vec<Self> {
        let mut hosts = std::mem::take(&mut self.report.before);
        let own = self.report.own.take();
        let whole = own.is_none();
        hosts.extend(own.map(|own| *own));
        hosts.sort_by_key(|host| host.number);
        for report in hosts
            .iter_mut()
            .map(|host| &mut host.report)
            .chain([&mut self.report])
        {
            (report.address, report.transmission) = (None, None);
        }
        let at = self.at;
        let hosts = hosts.into_iter().map(|host| Self {
            at: at.after(host.after),
            duration_ms: millis(host.took),
            report: host.report,
        });
        hosts.chain(whole.then_some(self)).collect()
    }
}

impl AttemptResult {
    /// The reply to the message: that it was accepted, or that the session, the sender, DATA or the body was refused.
    #[must_use]
    pub const fn reply(&self) -> Option<&Reply> {
        if let Self::Accepted(reply) | Self::Refused { reply, .. } = self {
            Some(reply)
        } else {
            None
        }
    }
}

/// Whether a reply reports a rate limit: a 4yz code with the enhanced codes or the words for it. Replies about an
/// address or a mailbox (x.1.x, x.2.x) are not rate limits (RFC 3463 sections 3.2 and 3.3).
#[must_use]
pub fn is_rate_limit(reply: &Reply) -> bool {
    if !matches!(reply.code, 400..=499) || matches!(reply.enhanced, Some(EnhancedCode(_, 1 | 2, _))) {
        return false;
    }
    names_a_rate(reply) || speaks_of_a_rate(reply)
}

/// Whether a reply names a rate limit by its enhanced code, whatever its words are.
#[must_use]
pub const fn names_a_rate(reply: &Reply) -> bool {
    matches!(reply.code, 400..=499)
        && matches!(
            reply.enhanced,
            Some(EnhancedCode(4, 7, 28) | EnhancedCode(4, 3, 2))
        )
}

fn speaks_of_a_rate(reply: &Reply) -> bool {
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
        assert!(is_rate_limit(&Reply::new(454, "4.7.0 rate limit exceeded")));
        assert!(!is_rate_limit(&Reply::new(550, "5.7.1 too many messages")));
        assert!(!is_rate_limit(&Reply::new(
            452,
            "4.2.2 the mailbox has too many messages"
        )));
    }
}
