//! How long a peer of the admin API may take to read an answer.

use std::time::Duration;
use tokio::time::Instant;

/// How long a peer may leave an answer unread in all, beside what it needs at [`LEAST_RATE`].
const WRITE_ALLOWANCE: Duration = Duration::from_secs(30);
/// Bytes a second below which a peer is too slow, in both directions.
const LEAST_RATE: u64 = 32 * 1024;

/// The time for `bytes` at [`LEAST_RATE`].
pub(super) fn slowest(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / LEAST_RATE)
}

/// How fast a peer reads an answer. Only time in which writing waits for the peer counts.
#[derive(Debug, Default)]
pub(super) struct WriteTiming {
    sent: u64,
    waited: Duration,
    waits_since: Option<Instant>,
}

impl WriteTiming {
    pub(super) fn took(&mut self, bytes: u64, now: Instant) {
        self.sent += bytes;
        if let Some(since) = self.waits_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The peer reads nothing now; returns the deadline.
    pub(super) fn blocked(&mut self, now: Instant) -> Instant {
        let since = *self.waits_since.get_or_insert(now);
        let left = (WRITE_ALLOWANCE + slowest(self.sent)).saturating_sub(self.waited);
        since + left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_that_a_peer_takes_nothing_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timing = WriteTiming::default();
        assert_eq!(timing.blocked(at(0)), at(30));
        assert_eq!(timing.blocked(at(20)), at(30), "it waits since then");
        timing.took(0, at(20));
        assert_eq!(timing.blocked(at(500)), at(510), "10 s are left");
        timing.took(LEAST_RATE * 5, at(500));
        assert_eq!(timing.blocked(at(600)), at(615), "what it took bought it time");
    }
}
