//! The public view of the ledger: one state for each client and user, and their order.

use super::Kind;
use serde::{Deserialize, Serialize};
use spool_core::Timestamp;
use std::cmp::Reverse;

/// A count in a span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// The count in the last `in_ms`.
    pub count: u64,
    /// The span in milliseconds: that of the limit, or an hour without one.
    pub in_ms: u64,
    /// The limit for that span.
    pub limit: Option<u32>,
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limited {
    /// The kind that is limited.
    pub what: Kind,
    /// When the next one is allowed.
    pub until: Timestamp,
    /// The limit.
    pub reason: String,
}

/// The recent activity of a client or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientState {
    /// `192.0.2.1`, `2001:db8::/64`, `uid:1000` (a local user, at the Unix socket), or the name of a user.
    pub client: String,
    /// Whether it is the name of a user who has logged in.
    pub user: bool,
    /// Open connections; of a user, sessions with a login.
    pub connections: usize,
    /// Connections that were opened.
    pub new_connections: Count,
    /// Messages for which DATA or BDAT was accepted.
    pub messages: Count,
    /// Recipients that were accepted.
    pub recipients: Count,
    /// Logins with a wrong name or password.
    pub failed_logins: Count,
    /// Until when the next login is delayed after failures.
    pub login_delayed_until: Option<Timestamp>,
    /// The limits that are reached.
    pub limited: Vec<Limited>,
    /// The time of the last activity.
    pub last_seen: Timestamp,
}

impl ClientState {
    /// Whether there is a count, or a connection.
    pub(super) fn is_busy(&self) -> bool {
        let counts = [
            &self.new_connections,
            &self.messages,
            &self.recipients,
            &self.failed_logins,
        ];
        self.connections > 0 || counts.iter().any(|count| count.count > 0)
    }

    /// The order in which clients are listed.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let sent = [&self.messages, &self.recipients, &self.failed_logins].map(|count| Reverse(count.count));
        (self.limited.is_empty(), sent)
    }
}
