//! What was learned of hosts, kept for a limited time. The number of hosts is bounded.

use crate::deadline::from_now;
use parking_lot::Mutex;
use spool_core::NextHop;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The most hosts. When there are more, the one whose time ends first is removed, and the value is found again.
const MAX_HOSTS: usize = 4096;

/// A value for each host, with the end of its time.
#[derive(Debug)]
pub(super) struct HostMemory<V>(Mutex<HashMap<NextHop, (Instant, V)>>);

impl<V> Default for HostMemory<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> HostMemory<V> {
    /// The value for `hop`.
    pub(super) fn get(&self, hop: &NextHop) -> Option<V> {
        self.change(hop, |value| value.clone())
    }

    /// The result of `change` for the value of `hop`, if there is one.
    pub(super) fn change<R>(&self, hop: &NextHop, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let mut hosts = self.0.lock();
        let (until, value) = hosts.get_mut(hop)?;
        if *until > Instant::now() {
            return Some(change(value));
        }
        hosts.remove(hop);
        None
    }

    /// Stores `value` for `span`.
    pub(super) fn note(&self, hop: &NextHop, value: V, span: Duration) {
        let now = Instant::now();
        let mut hosts = self.0.lock();
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(hop) {
            hosts.retain(|_, (until, _)| *until > now);
            let first = hosts.iter().min_by_key(|(_, (until, _))| *until);
            let first = first.map(|(hop, _)| hop.clone());
            if let Some(first) = first.filter(|_| hosts.len() >= MAX_HOSTS) {
                hosts.remove(&first);
            }
        }
        hosts.insert(hop.clone(), (from_now(span), value));
    }

    /// Removes `hop`.
    pub(super) fn forget(&self, hop: &NextHop) {
        self.0.lock().remove(hop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hosts_are_forgotten_in_time_and_when_there_are_too_many() {
        let hosts = HostMemory::default();
        let hop = |n: usize| -> NextHop { format!("h{n}.test:25").parse().unwrap() };
        let span = Duration::from_secs(600);
        hosts.note(&hop(0), 100, span);
        assert_eq!((hosts.get(&hop(0)), hosts.get(&hop(1))), (Some(100), None));
        hosts.forget(&hop(0));
        assert_eq!(hosts.get(&hop(0)), None);
        hosts.note(&hop(0), 100, span);
        tokio::time::advance(span).await;
        assert_eq!(hosts.get(&hop(0)), None);
        for n in 0..=MAX_HOSTS {
            let later = Duration::from_secs(u64::try_from(n).unwrap());
            hosts.note(&hop(n), 1, span + later);
        }
        assert_eq!(hosts.get(&hop(0)), None, "the oldest");
        assert_eq!(hosts.get(&hop(MAX_HOSTS)), Some(1));
        assert_eq!(hosts.0.lock().len(), MAX_HOSTS);
    }
}
