//! Model peers. Each answers a session when it begins, with what comes of it and how long that takes.

use crate::pace::Signal;
use crate::pace::signal::Throttled;
use spool_core::Timestamp;
use std::time::Duration;

/// How long a good session takes on average.
pub(super) const SERVICE: Duration = Duration::from_millis(100);
/// How long a refusal takes.
pub(super) const REFUSAL: Duration = Duration::from_millis(5);

/// xorshift64*: a seed plays the same choices again.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub(super) trait Peer {
    /// A session begins, with `open` sessions taken that have not ended.
    fn begin(&mut self, now: Timestamp, open: usize) -> (Signal, Duration);
}

/// A good session, of varying length.
pub(super) fn taken(chance: &mut Chance) -> (Signal, Duration) {
    (Signal::Fine, SERVICE.mul_f64(0.7 + 0.6 * chance.next()))
}

pub(super) fn throttled(of: Throttled) -> (Signal, Duration) {
    let reason = "421 4.7.0 no more of these".to_owned();
    (Signal::Throttled { of, reason }, REFUSAL)
}

pub(super) fn unreachable() -> (Signal, Duration) {
    let reason = "connection refused".to_owned();
    (Signal::Unreachable { reason }, REFUSAL)
}

/// Takes `k` sessions at once.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) k: usize,
    /// What it says to more of them.
    pub(super) says: Throttled,
    pub(super) chance: Chance,
}

impl Peer for Connections {
    fn begin(&mut self, _: Timestamp, open: usize) -> (Signal, Duration) {
        if open >= self.k {
            throttled(self.says)
        } else {
            taken(&mut self.chance)
        }
    }
}

/// How a peer counts messages in a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counting {
    /// So many in each full second, whatever was refused counted too.
    Seconds,
    /// A bucket with a second's worth in it.
    Bucket,
}

/// Takes `r` messages a second.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) r: f64,
    pub(super) counting: Counting,
    pub(super) says: Throttled,
    pub(super) chance: Chance,
    pub(super) since: Option<Timestamp>,
    pub(super) count: f64,
}

impl Messages {
    pub(super) fn new(r: f64, counting: Counting, says: Throttled, seed: u64) -> Self {
        Self {
            r,
            counting,
            says,
            chance: Chance::new(seed),
            since: None,
            count: 0.0,
        }
    }
}

impl Peer for Messages {
    fn begin(&mut self, now: Timestamp, _: usize) -> (Signal, Duration) {
        let burst = self.r.max(1.0);
        let since = *self.since.get_or_insert(now);
        let passed = now.since(since).as_secs_f64();
        let over = match self.counting {
            Counting::Seconds => {
                // A limit below one a second is counted over as long as one message takes.
                if passed >= burst / self.r {
                    (self.since, self.count) = (Some(now), 0.0);
                }
                self.count += 1.0;
                self.count > burst
            }
            Counting::Bucket => {
                self.since = Some(now);
                self.count = (self.count - passed * self.r).max(0.0);
                let over = self.count + 1.0 > burst;
                self.count += if over { 0.0 } else { 1.0 };
                over
            }
        };
        if over {
            throttled(self.says)
        } else {
            taken(&mut self.chance)
        }
    }
}

/// Refuses every message for one mailbox, and says so in words that sound like a limit.
#[derive(Debug)]
pub(super) struct OneSickMailbox {
    /// One message in so many is for it.
    pub(super) one_in: usize,
    pub(super) count: usize,
    pub(super) chance: Chance,
}

impl Peer for OneSickMailbox {
    fn begin(&mut self, _: Timestamp, _: usize) -> (Signal, Duration) {
        self.count += 1;
        if self.count.is_multiple_of(self.one_in) {
            return (suspected(0), REFUSAL);
        }
        taken(&mut self.chance)
    }
}

/// Takes what another peer takes, and complains in words alone, to everybody.
#[derive(Debug)]
pub(super) struct InWords<P>(pub(super) P, pub(super) u64);

impl<P: Peer> Peer for InWords<P> {
    fn begin(&mut self, now: Timestamp, open: usize) -> (Signal, Duration) {
        self.1 += 1;
        match self.0.begin(now, open) {
            (Signal::Throttled { .. }, span) => (suspected(self.1), span),
            taken => taken,
        }
    }
}

fn suspected(mark: u64) -> Signal {
    Signal::Suspected {
        whose: vec![mark],
        of: Throttled::Messages,
        reason: "452 too many messages".to_owned(),
    }
}
