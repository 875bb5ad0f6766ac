//! The path of a list of next hops: the hosts that its mail goes to, by which its limits are counted.
//!
//! It has the names of the hosts alone. Which of them can be reached, and what a domain asks of sessions with them, makes no other path:
//! limits are the hosts'.

use super::route::{MAX_NAMES, Routes};
use futures_util::future::join_all;
use spool_core::NextHop;
use std::collections::HashSet;
use std::sync::Arc;

impl Routes {
    /// The hosts of `next_hops` in order: exchangers by preference, equals by name. The answer takes as long as one question.
    pub(in crate::client) async fn path(&self, next_hops: &[NextHop]) -> Arc<[NextHop]> {
        let hosts = join_all(next_hops.iter().map(|hop| self.hosts_of(hop))).await;
        let mut seen = HashSet::new();
        let hosts = hosts.into_iter().flatten();
        hosts
            .filter(|host| seen.insert(host.clone()))
            .take(MAX_NAMES)
            .collect()
    }

    /// The exchangers of `hop`. A host, and a domain whose exchangers are not known, stand for themselves.
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
