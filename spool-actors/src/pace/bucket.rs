//! At most so many messages in so much time: the generic cell rate algorithm, a token bucket that is one number.
//!
//! Messages are spaced evenly. As many may go together as make up for a late wake-up, and the spacing is that much wider, so
//! that in no time of the rate's length more go than the rate says.

use spool_core::{Rate, Timestamp};
use std::time::Duration;

/// Late wake-ups that are made up for.
const SLACK: Duration = Duration::from_millis(20);
/// The longest that nothing may go beside what the rate says, in microseconds.
const LONGEST_HOLD: i64 = 2_000_000;
/// Rates of fewer messages than this are spaced one by one.
const FEW: u32 = 20;

/// See the module. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    interval: i64,
    /// How many may go together, at least 1.
    burst: i64,
    /// When the bucket will be full, if nothing more goes.
    full: i64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: &Rate) -> Self {
        let messages = rate.messages.get();
        let per = micros(rate.per).max(1);
        let slack = i64::from(messages).saturating_mul(micros(SLACK)) / per;
        let burst = if messages < FEW {
            1
        } else {
            slack.clamp(2, i64::from(messages / 2))
        };
        let spaced = i64::from(messages) - (burst - 1);
        Self {
            interval: (per + spaced - 1) / spaced,
            burst,
            full: i64::MIN,
        }
    }

    /// A full one, of so many messages a second, without an upper bound for any given time.
    pub(super) fn of(per_second: f64) -> Self {
        let (micros_in, slack) = (1e6, SLACK.as_secs_f64());
        Self {
            interval: whole(micros_in / per_second).max(1),
            burst: whole(per_second * slack).max(1),
            full: i64::MIN,
        }
    }

    /// The same with as much in it as in `other`.
    pub(super) const fn filled_as(mut self, other: &Self) -> Self {
        self.full = other.full;
        self
    }

    /// How many messages may go at `now`.
    pub(super) fn tokens(&self, now: Timestamp) -> usize {
        let now = at(now);
        let missing = self.missing(now);
        let tokens = (self.interval.saturating_mul(self.burst) - missing) / self.interval;
        usize::try_from(tokens).unwrap_or(0)
    }

    /// Whether messages go at its rate: one that goes now would have had to wait a moment ago.
    pub(super) const fn is_in_use(&self, now: Timestamp) -> bool {
        at(now).saturating_sub(self.full) < self.interval / 4
    }

    /// One goes at `now`, whether it may or not.
    pub(super) fn take(&mut self, now: Timestamp) {
        let now = at(now);
        self.full = now
            .saturating_add(self.missing(now))
            .saturating_add(self.interval);
    }

    /// One that was taken did not go.
    pub(super) fn give_back(&mut self) {
        self.full = self.full.saturating_sub(self.interval);
    }

    /// Lets nothing go before `until`, [`LONGEST_HOLD`] from now at most.
    pub(super) fn hold_until(&mut self, until: Timestamp) {
        let empty = self.interval.saturating_mul(self.burst - 1);
        self.full = self.full.max(at(until).saturating_add(empty));
    }

    /// When the message goes that has `ahead` others before it.
    pub(super) fn when(&self, now: Timestamp, ahead: usize) -> Timestamp {
        let micros = at(now);
        let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
        let wait = self
            .missing(micros)
            .saturating_add(self.interval.saturating_mul(ahead.saturating_add(1)))
            .saturating_sub(self.interval.saturating_mul(self.burst))
            .max(0);
        // Up to the next millisecond: not before it may.
        Timestamp(now.0.saturating_add((wait + 999) / 1000))
    }

    /// Time until it is full.
    fn missing(&self, now: i64) -> i64 {
        let most = self.interval.saturating_mul(self.burst).max(LONGEST_HOLD);
        self.full.saturating_sub(now).clamp(0, most)
    }
}

const fn at(time: Timestamp) -> i64 {
    time.0.saturating_mul(1000)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn whole(number: f64) -> i64 {
    number.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn rate(messages: u32, ms: u64) -> Rate {
        Rate::new(messages, Duration::from_millis(ms)).unwrap()
    }

    /// When messages go, if there are always more of them, and it is looked at every `step` milliseconds.
    fn departures(bucket: &mut Bucket, step: u64, span: u64) -> Vec<i64> {
        let mut gone = Vec::new();
        for ms in (0..span).step_by(usize::try_from(step).unwrap()) {
            let now = START.after(Duration::from_millis(ms));
            for _ in 0..bucket.tokens(now) {
                bucket.take(now);
                gone.push(now.0);
            }
        }
        gone
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn no_time_of_the_rates_length_sees_more_messages_than_it_says(messages in 1_u32..400, per in 50_u64..2000, step in 1_u64..40) {
            let gone = departures(&mut Bucket::new(&rate(messages, per)), step, per * 3);
            let per = i64::try_from(per).unwrap();
            for (n, first) in gone.iter().enumerate() {
                let within = gone.iter().skip(n).take_while(|at| **at < first + per).count();
                proptest::prop_assert!(within <= usize::try_from(messages).unwrap(), "{} in {}", within, per);
            }
        }

        #[test]
        fn what_is_foretold_comes_true(messages in 1_u32..500, per in 100_u64..5000, before in 0_usize..50, ahead in 0_usize..200) {
            let mut bucket = Bucket::new(&rate(messages, per));
            let mut now = START;
            for _ in 0..before {
                now = bucket.when(now, 0);
                bucket.take(now);
            }
            let foretold = bucket.when(now, ahead);
            let mut at = now;
            for _ in 0..ahead {
                at = bucket.when(at, 0);
                bucket.take(at);
            }
            let comes = bucket.when(at, 0);
            // Each wait is rounded up to the millisecond.
            let slack = i64::try_from(ahead).unwrap() + 1;
            proptest::prop_assert!((foretold.0..=foretold.0 + slack).contains(&comes.0), "{foretold} {comes}");
        }
    }

    #[test]
    fn the_rate_is_nearly_reached() {
        for (messages, per) in [(1, 1000), (10, 1000), (100, 60_000), (100, 1000), (1000, 1000)] {
            let gone = departures(&mut Bucket::new(&rate(messages, per)), 5, per * 20).len();
            let whole = usize::try_from(messages).unwrap() * 20;
            assert!(
                gone * 100 >= whole * 95 && gone <= whole + 1,
                "{messages}: {gone} of {whole}"
            );
        }
    }
}
