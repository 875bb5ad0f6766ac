//! The path of a list of next hops: the hosts that its mail goes to, for which limits are counted.
//!
//! It consists of the names of the hosts only. Neither their reachability nor the security that a domain requires changes the path.

use super::route::{MAX_NAMES, Routes};
use futures_util::future::join_all;
use spool_core::NextHop;
use std::collections::HashSet;
use std::sync::Arc;

impl Routes {
    /// The hosts of `next_hops` in order: exchangers by preference and name. The lookups are concurrent.
    pub(in crate::client) async fn path(&self, next_hops: &[NextHop]) -> Arc<[NextHop]> {
        let hosts = join_all(next_hops.iter().map(|hop| self.hosts_of(hop))).await;
        let mut seen = HashSet::new();
        let hosts = hosts.into_iter().flatten();
        hosts
            .filter(|host| seen.insert(host.clone()))
            .take(MAX_NAMES)
            .collect()
    }

    /// The exchangers of `hop`; `hop` itself if it is a host, or its exchangers cannot be found.
    async fn hosts_of(&self, hop: &NextHop) -> Vec<NextHop> {
        let found = match hop.is_mx() {
            true => self.exchangers(hop).await.ok(),
            false => None,
        };
        let names = found.iter().flat_map(|(groups, _)| groups.iter().flatten());
        let hosts = names.filter_map(|host| format!("{host}:{}", hop.port()).parse().ok());
        let hosts: Vec<NextHop> = hosts.collect();
        if hosts.is_empty() {
            vec![hop.clone()]
        } else {
            hosts
        }
    }
}
