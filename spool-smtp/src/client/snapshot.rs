//! The state of the cache of sessions, for display. It contains no secret.

use super::session_key::SessionKey;
use serde::{Deserialize, Serialize};
use spool_core::{NextHop, TlsPolicy};
use std::net::IpAddr;

/// All connections of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// The number of open connections, idle ones included.
    pub open: usize,
    /// The most connections.
    pub limit: usize,
    /// The destinations with a connection, or with an attempt that waits for one; in the order of their next hops.
    pub destinations: Vec<DestinationSessions>,
}

/// The sessions with one next hop that have the same requirements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationSessions {
    /// The next hop.
    pub next_hop: NextHop,
    /// The path for which its connections are counted, if that is not just the next hop.
    pub route: Option<Vec<NextHop>>,
    /// The security that is required.
    pub tls_policy: TlsPolicy,
    /// The user name of AUTH.
    pub user: Option<String>,
    /// The source address for each family; empty: the system chooses.
    pub source: Vec<IpAddr>,
    /// The most connections on the path.
    pub limit: usize,
    /// Connections that are open or being opened.
    pub open: usize,
    /// Of them, the idle ones.
    pub idle: usize,
    /// Of them, those that are in use.
    pub in_use: usize,
    /// Attempts that wait until a connection is closed.
    pub waiting: usize,
    /// Connections that were opened since the destination last had none.
    pub opened: u64,
    /// Messages that were sent on an open session since then.
    pub reused: u64,
    /// The TLS of the last session that was opened, as in the record of an attempt.
    pub tls: Option<String>,
}

impl PoolSnapshot {
    pub(super) fn new(
        open: usize,
        limit: usize,
        destinations: impl Iterator<Item = DestinationSessions>,
    ) -> Self {
        let mut destinations: Vec<_> = destinations.collect();
        destinations.sort_by(|a, b| (&a.next_hop, &a.route, &a.user).cmp(&(&b.next_hop, &b.route, &b.user)));
        Self {
            open,
            limit,
            destinations,
        }
    }
}

impl DestinationSessions {
    /// The sessions of `key`, before the first one is opened.
    pub(super) fn new(key: &SessionKey) -> Self {
        let is_hop = *key.path == [key.hop.clone()];
        let user = key.credentials.as_ref().map(|credentials| credentials.user());
        Self {
            next_hop: key.hop.clone(),
            route: (!is_hop).then(|| key.path.to_vec()),
            tls_policy: key.tls,
            user: user.map(str::to_owned),
            source: key.source.addresses(),
            limit: 0,
            open: 0,
            idle: 0,
            in_use: 0,
            waiting: 0,
            opened: 0,
            reused: 0,
            tls: None,
        }
    }
}
