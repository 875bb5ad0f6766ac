//! Hosts that could not be reached recently. If the first host of a path is dead and the next one answers, new sessions do not wait for the
//! first. It is no limit on attempts: the circuit of a destination stops those. The number of hosts is bounded.

use super::host_memory::HostMemory;
use spool_core::NextHop;
use std::time::Duration;
use tokio::time::Instant;

/// Consecutive failures after which a host is not tried for [`PAUSE`].
const FAILURES: u32 = 4;
/// Shorter than the first pause of a circuit, so that its probe tries the host.
const PAUSE: Duration = Duration::from_millis(500);
/// For how long failures are kept.
const MEMORY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Default)]
pub(super) struct DeadHosts(HostMemory<Failing>);

#[derive(Debug, Clone)]
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
        let now = Instant::now();
        let may_try = self.0.change(hop, |host| {
            if host.failures >= FAILURES {
                if now < host.next {
                    return Err(host.reason.clone());
                }
                // Only this caller tries; others fail until it succeeds or the pause is over.
                host.next = now + PAUSE;
            }
            Ok(())
        });
        may_try.unwrap_or(Ok(()))
    }

    /// `hop` was not reached. Two failures at the same moment may count as one.
    pub(super) fn failed(&self, hop: &NextHop, reason: &str) {
        let failures = self.0.change(hop, |host| host.failures).unwrap_or_default();
        let host = Failing {
            failures: failures.saturating_add(1),
            next: Instant::now() + PAUSE,
            reason: reason.to_owned(),
        };
        self.0.note(hop, host, MEMORY);
    }

    /// `hop` was reached.
    pub(super) fn reached(&self, hop: &NextHop) {
        self.0.forget(hop);
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
        (0..FAILURES).for_each(|_| hosts.failed(&hop(0), "refused"));
        tokio::time::advance(MEMORY).await;
        // Both: the failures are forgotten.
        assert_eq!((hosts.may_try(&hop(0)), hosts.may_try(&hop(0))), (Ok(()), Ok(())));
    }
}
