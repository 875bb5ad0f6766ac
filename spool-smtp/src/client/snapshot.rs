//! The cache of sessions as it stands, for people and programs to look at. It holds no secret.

use super::session_ledger::KeyCounts;
use serde::{Deserialize, Serialize};
use spool_core::{NextHop, TlsPolicy};
use std::net::IpAddr;

/// All connections of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// Open now, idle ones among them.
    pub open: usize,
    /// The most that may be.
    pub limit: usize,
    /// Each with at least one connection, or an attempt that waits for one; in the order of their next hops.
    pub destinations: Vec<DestinationSessions>,
}

/// The sessions that are alike: to one next hop, and under the same conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationSessions {
    /// Whom they are with.
    pub next_hop: NextHop,
    /// The path by which its connections are counted, when that is not just the next hop.
    pub route: Option<Vec<NextHop>>,
    /// The security that is asked for.
    pub tls_policy: TlsPolicy,
    /// The user name of AUTH.
    pub user: Option<String>,
    /// The address of this machine for each family; empty: as the system chooses.
    pub source: Vec<IpAddr>,
    /// The most connections on the path.
    pub limit: usize,
    /// Connections open or being opened.
    pub open: usize,
    /// Of them, those that wait for a message.
    pub idle: usize,
    /// Of them, those with a message.
    pub in_use: usize,
    /// Attempts that wait until a connection is closed.
    pub waiting: usize,
    /// Connections opened since the destination was last without any.
    pub opened: u64,
    /// How many messages since then found an open session.
    pub reused: u64,
    /// The TLS of the session that was opened last, as in an attempt's record.
    pub tls: Option<String>,
}

impl PoolSnapshot {
    pub(super) fn new(open: usize, limit: usize, counts: Vec<KeyCounts>) -> Self {
        let mut destinations: Vec<_> = counts.into_iter().map(DestinationSessions::from).collect();
        destinations.sort_by(|a, b| (&a.next_hop, &a.route, &a.user).cmp(&(&b.next_hop, &b.route, &b.user)));
        Self {
            open,
            limit,
            destinations,
        }
    }
}

impl From<KeyCounts> for DestinationSessions {
    fn from(count: KeyCounts) -> Self {
        let KeyCounts { key, idle, tally } = count;
        let is_hop = *key.path == [key.hop.clone()];
        Self {
            next_hop: key.hop,
            route: (!is_hop).then(|| key.path.to_vec()),
            tls_policy: key.tls,
            user: key.credentials.map(|credentials| credentials.user().to_owned()),
            source: key.source.addresses(),
            limit: tally.limit,
            open: tally.open,
            idle,
            in_use: tally.open - idle,
            waiting: tally.waiting,
            opened: tally.opened,
            reused: tally.reused,
            tls: tally.note,
        }
    }
}
