//! The hosts that could not be reached of late: the memory of the way through a list of hosts. It is no limit: a path that does not answer
//! at all is left alone by whoever starts attempts. Where the first host of a path is dead and the next one answers, it saves each new
//! session the wait for the first. Never more than a fixed number of hosts.

use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which a host is left alone for [`PAUSE`] after each.
const FAILURES: u32 = 4;
/// Shorter than the first pause of a path that does not answer: an attempt that is to find out whether it does again tries the host.
const PAUSE: Duration = Duration::from_millis(500);
/// The most that are remembered. Of one more, any is forgotten: it is connected to again, which is little harm.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct DeadHosts(Mutex<HashMap<NextHop, Failing>>);

#[derive(Debug)]
struct Failing {
    /// In a row.
    failures: u32,
    /// When it may be tried again.
    next: Instant,
    reason: String,
}

impl DeadHosts {
    /// Whether `hop` may be connected to; if not, why it could not be reached the last time.
    pub(super) fn may_try(&self, hop: &NextHop) -> Result<(), String> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(host) = hosts.get_mut(hop).filter(|host| host.failures >= FAILURES) else {
            return Ok(());
        };
        let now = Instant::now();
        if now < host.next {
            return Err(host.reason.clone());
        }
        // This one tries; the others wait for what comes of it, or for the next turn.
        host.next = now + PAUSE;
        Ok(())
    }

    /// `hop` was not reached.
    pub(super) fn failed(&self, hop: &NextHop, reason: &str) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST && !hosts.contains_key(hop) {
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

    /// `hop` has spoken.
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
        (0..2 * MOST).for_each(|n| hosts.failed(&hop(n), "refused"));
        assert_eq!(hosts.0.lock().unwrap().len(), MOST);
    }
}
