//! Latencies in buckets that are each about 1.6 percent wide: small, exact enough, and easy to merge.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u32 = 64;

/// A histogram of durations, in microseconds, up to days.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The duration that the share `quantile` (0 to 1) does not exceed; zero when there is none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (self.total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper(bucket).min(self.max));
            }
        }
        Duration::from_micros(self.max)
    }

    /// The longest.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }
}

fn bucket(value: u64) -> usize {
    let steps = u64::from(STEPS);
    if value < steps {
        return usize::try_from(value).unwrap_or(0);
    }
    let shift = value.ilog2() - STEPS.ilog2();
    let place = u64::from(shift) * steps + (value >> shift);
    usize::try_from(place).unwrap_or(0)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let steps = u64::from(STEPS);
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < 2 * steps {
        return bucket;
    }
    let shift = bucket / steps - 1;
    ((bucket - shift * steps + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_bucket_is_narrow(value in 0_u64..10_000_000_000) {
            let top = upper(bucket(value));
            proptest::prop_assert!(top >= value && top - value <= value / 64 + 1, "{} {}", value, top);
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut all = Histogram::default();
        for part in 0..2_u64 {
            let mut half = Histogram::default();
            (1..=500).for_each(|n| half.record(Duration::from_micros(n * 2 - part)));
            all.merge(&half);
        }
        for (quantile, expected) in [(0.5, 500.0_f64), (0.99, 990.0), (1.0, 1000.0)] {
            let found = all.quantile(quantile).as_secs_f64() * 1e6;
            assert!((found - expected).abs() < expected * 0.02, "{quantile}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
