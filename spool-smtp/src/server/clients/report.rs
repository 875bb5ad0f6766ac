//! The public view of the ledger: one state for each client and user.

use super::Kind;
use super::ledger::{ClientActivity, Tally};
use serde::{Deserialize, Serialize};
use spool_core::Timestamp;
use std::time::Duration;

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

/// `lines` for people, on a wall clock that shows `now` when the steady one shows `steady`.
pub(super) fn states(mut lines: Vec<ClientActivity>, now: Timestamp, steady: Duration) -> Vec<ClientState> {
    lines.sort_by_cached_key(|line| {
        let limited = line.tallies.iter().any(|tally| !tally.wait.is_zero());
        let [_, messages, recipients, failures] = line.tallies.map(|tally| std::cmp::Reverse(tally.count));
        (!limited, messages, recipients, failures, line.key.clone())
    });
    lines.into_iter().map(|line| state(&line, now, steady)).collect()
}

fn state(line: &ClientActivity, now: Timestamp, steady: Duration) -> ClientState {
    let user = line.key.is_user();
    let [new_connections, messages, recipients, failed_logins] = line.tallies.map(|tally| Count {
        count: tally.count,
        in_ms: millis(tally.span),
        limit: tally.limit.map(|rate| rate.messages.get()),
    });
    let limited = line.tallies.iter().filter(|tally| !tally.wait.is_zero());
    ClientState {
        client: line.key.to_string(),
        user,
        connections: line.connections,
        new_connections,
        messages,
        recipients,
        failed_logins,
        login_delayed_until: (!line.delay.is_zero()).then(|| now.after(line.delay)),
        limited: limited.map(|tally| limit(tally, user, now)).collect(),
        last_seen: Timestamp(
            now.0
                .saturating_sub(i64::try_from(millis(steady.saturating_sub(line.seen))).unwrap_or(i64::MAX)),
        ),
    }
}

fn limit(tally: &Tally, user: bool, now: Timestamp) -> Limited {
    let whose = if user { "user" } else { "client" };
    let what = match tally.kind {
        Kind::Connections => "connections_per_client_rate".to_owned(),
        Kind::Messages => format!("messages_per_{whose}"),
        Kind::Recipients => format!("recipients_per_{whose}"),
        Kind::FailedLogins => format!("failed_logins_per_{whose}"),
    };
    let most = tally.limit.map_or(0, |rate| rate.messages.get());
    Limited {
        what: tally.kind,
        until: now.after(tally.wait),
        reason: format!("{what}: {most}/{}", span(tally.span)),
    }
}

/// In the form of the configuration, `1m`.
fn span(span: Duration) -> String {
    let millis = millis(span);
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let exact = units.iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    exact.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
