//! Hosts that could not be reached recently. If the first host of a path is dead and the next one answers, new sessions do not wait for the
//! first. It is no limit on attempts: the circuit of a destination stops those. The number of hosts is bounded.

use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Consecutive failures after which a host is not tried for [`PAUSE`].
const FAILURES: u32 = 4;
/// Shorter than the first pause of a circuit, so that its probe tries the host.
const PAUSE: Duration = Duration::from_millis(500);
/// The most hosts. When there are more, any one is removed and is tried again.
const MAX_HOSTS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct DeadHosts(Mutex<HashMap<NextHop, Failing>>);

#[derive(Debug)]
struct Failing {
    /// The number of consecutive failures.
    failures: u32,
    /// When the host may be tried again.
    next: Instant,
    reason: String,
}

impl DeadHosts {
    /// Whether `hop` may be tried.
    ///
    /// # Errors
    /// Why it could not be reached the last time.
    pub(super) fn may_try(&self, hop: &NextHop) -> Result<(), String> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(host) = hosts.get_mut(hop).filter(|host| host.failures >= FAILURES) else {
            return Ok(());
        };
        let now = Instant::now();
        if now < host.next {
            return Err(host.reason.clone());
        }
        // Only this caller tries; others fail until it succeeds or the pause is over.
        host.next = now + PAUSE;
        Ok(())
    }

    /// `hop` was not reached.
    pub(super) fn failed(&self, hop: &NextHop, reason: &str) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(hop) {
            let any = hosts.keys().next().cloned();
            any.and_then(|any| hosts.remove(&any));
        }
        let failures = hosts.get(hop).map_or(0, |host| host.failures);
        let host = Failing {
            failures: failures.saturating_add(1),
            next: Instant::now() + PAUSE,
            reason: reason.to_owned(),
        };
        hosts.insert(hop.clone(), host);
    }

    /// `hop` was reached.
    pub(super) fn reached(&self, hop: &NextHop) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(hop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dead_host_is_tried_by_one_at_a_time_until_it_answers() {
        let hosts = DeadHosts::default();
        let hop = |n: usize| -> NextHop { format!("h{n}.test:25").parse().unwrap() };
        for _ in 0..FAILURES {
            assert_eq!(hosts.may_try(&hop(0)), Ok(()));
            hosts.failed(&hop(0), "refused");
        }
        for _ in 0..3 {
            assert_eq!(hosts.may_try(&hop(0)), Err("refused".to_owned()));
            tokio::time::advance(PAUSE).await;
            assert_eq!(hosts.may_try(&hop(0)), Ok(()));
        }
        assert_eq!(hosts.may_try(&hop(1)), Ok(()));
        hosts.reached(&hop(0));
        assert_eq!(hosts.may_try(&hop(0)), Ok(()));
        (0..2 * MAX_HOSTS).for_each(|n| hosts.failed(&hop(n), "refused"));
        assert_eq!(hosts.0.lock().unwrap().len(), MAX_HOSTS);
    }
}
