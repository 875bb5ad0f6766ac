//! The most recipients of a transaction for hosts that have ended one. The number of hosts is bounded.

use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For how long a limit is kept. A connection that broke for another reason may look like a limit.
const MEMORY: Duration = Duration::from_secs(600);
/// The most hosts. When there are more, any one is removed, and its limit is found again at the cost of one session.
const MAX_HOSTS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct RecipientLimits(Mutex<HashMap<NextHop, (Instant, usize)>>);

impl RecipientLimits {
    /// The most recipients of a transaction with `hop`.
    pub(super) fn most(&self, hop: &NextHop) -> usize {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(hop) {
            Some((until, most)) if *until > Instant::now() => *most,
            Some(_) => {
                hosts.remove(hop);
                usize::MAX
            }
            None => usize::MAX,
        }
    }

    /// Stores that `hop` accepts at most `most` recipients.
    pub(super) fn note(&self, hop: &NextHop, most: usize) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(hop) {
            let any = hosts.keys().next().cloned();
            any.and_then(|any| hosts.remove(&any));
        }
        hosts.insert(hop.clone(), (Instant::now() + MEMORY, most.max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_are_forgotten_in_time_and_when_there_are_too_many() {
        let limits = RecipientLimits::default();
        let hop = |n: usize| -> NextHop { format!("h{n}.test:25").parse().unwrap() };
        limits.note(&hop(0), 100);
        assert_eq!((limits.most(&hop(0)), limits.most(&hop(1))), (100, usize::MAX));
        tokio::time::advance(MEMORY).await;
        assert_eq!(limits.most(&hop(0)), usize::MAX);
        (0..2 * MAX_HOSTS).for_each(|n| limits.note(&hop(n), 0));
        assert_eq!(limits.most(&hop(2 * MAX_HOSTS - 1)), 1);
        assert_eq!(limits.0.lock().unwrap().len(), MAX_HOSTS);
    }
}
