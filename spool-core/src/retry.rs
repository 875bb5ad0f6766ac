//! Retries: a list of intervals, each with its jitter, and the expiry.
//!
//! Only this file uses the `backoff` crate: the draw within the jitter is its `randomization_factor`. No clock is used here.

use crate::clock::millis;
use backoff::backoff::Backoff;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One wait: uniformly drawn from `span - jitter` to `span + jitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RetryInterval {
    span_ms: u64,
    jitter_ms: u64,
}

impl RetryInterval {
    /// A wait of `span`, give or take `jitter` (cut to `span`).
    #[must_use]
    pub fn new(span: Duration, jitter: Duration) -> Self {
        let span_ms = millis(span);
        let jitter_ms = millis(jitter).min(span_ms);
        Self { span_ms, jitter_ms }
    }

    /// A wait of `span`, give or take the share `jitter` of it (0.2 is a fifth).
    #[must_use]
    pub fn with_jitter(span: Duration, jitter: f64) -> Self {
        let share = if jitter.is_finite() {
            jitter.clamp(0.0, 1.0)
        } else {
            0.0
        };
        Self::new(span, span.mul_f64(share))
    }

    /// The interval for one of many messages that are deferred together: they are spread over more than half of it. An
    /// interval without jitter stays as it is.
    #[must_use]
    pub fn spread(self) -> Self {
        let jitter_ms = match self.jitter_ms {
            0 => 0,
            jitter => jitter.max(self.span_ms / 10 * 3),
        };
        Self { jitter_ms, ..self }
    }

    /// The middle of the draw.
    #[must_use]
    pub const fn span(self) -> Duration {
        Duration::from_millis(self.span_ms)
    }

    /// The largest deviation from the middle.
    #[must_use]
    pub const fn jitter(self) -> Duration {
        Duration::from_millis(self.jitter_ms)
    }
}

/// Where the draw within the jitter comes from.
pub trait Dice: Send + Sync + fmt::Debug + 'static {
    /// A wait within `interval`.
    fn draw(&self, interval: RetryInterval) -> Duration;
}

/// Random draws, by the `backoff` crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomDice;

impl Dice for RandomDice {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a share of a span needs no more than 53 bits"
    )]
    fn draw(&self, interval: RetryInterval) -> Duration {
        if interval.jitter_ms == 0 {
            return interval.span();
        }
        let mut policy = backoff::ExponentialBackoff {
            current_interval: interval.span(),
            initial_interval: interval.span(),
            max_interval: interval.span(),
            randomization_factor: interval.jitter_ms as f64 / interval.span_ms as f64,
            multiplier: 1.0,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        };
        policy.next_backoff().unwrap_or(interval.span())
    }
}

/// Draws for one of many messages that are deferred together; see [`RetryInterval::spread`].
#[derive(Debug, Clone)]
pub struct SpreadDice(pub Arc<dyn Dice>);

impl Dice for SpreadDice {
    fn draw(&self, interval: RetryInterval) -> Duration {
        self.0.draw(interval.spread())
    }
}

/// No draw: the span itself. For tests and simulations.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDice;

impl Dice for NoDice {
    fn draw(&self, interval: RetryInterval) -> Duration {
        interval.span()
    }
}

/// How a message is retried, from its first attempt to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The waits, in order.
    pub intervals: Vec<RetryInterval>,
    /// Whether the last wait repeats until `expire_after`.
    pub repeat_last: bool,
    /// The time after spooling when a message expires; `None`: when the intervals end.
    pub expire_after: Option<Duration>,
}

impl Default for RetryPolicy {
    /// 1m 5m 15m 30m 1h 2h 4h 8h, the last repeated, a fifth of jitter, four days.
    fn default() -> Self {
        let minutes = [1, 5, 15, 30, 60, 120, 240, 480];
        let interval = |m: u64| RetryInterval::with_jitter(Duration::from_secs(m * 60), 0.2);
        Self {
            intervals: minutes.into_iter().map(interval).collect(),
            repeat_last: true,
            expire_after: Some(Duration::from_secs(4 * 86_400)),
        }
    }
}

/// What is left of a [`RetryPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The waits to come, in order.
    pub intervals: Vec<RetryInterval>,
    /// Whether the last one stays.
    pub repeat_last: bool,
}

impl Schedule {
    /// The whole of `policy`.
    #[must_use]
    pub fn new(policy: &RetryPolicy) -> Self {
        Self {
            intervals: policy.intervals.clone(),
            repeat_last: policy.repeat_last,
        }
    }

    /// Puts `extra` in front.
    pub fn prepend(&mut self, extra: &[RetryInterval]) {
        self.intervals.splice(0..0, extra.iter().copied());
    }

    /// Takes the next interval and draws from it; `None` when the list has ended.
    pub fn next(&mut self, dice: &dyn Dice) -> Option<Duration> {
        let interval = *self.intervals.first()?;
        if self.intervals.len() > 1 || !self.repeat_last {
            self.intervals.remove(0);
        }
        Some(dice.draw(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(list: &[u64]) -> Vec<RetryInterval> {
        list.iter()
            .map(|s| RetryInterval::new(Duration::from_secs(*s), Duration::ZERO))
            .collect()
    }

    #[test]
    fn intervals_are_taken_in_order_and_the_last_repeats_if_told() {
        let mut ends = Schedule {
            intervals: seconds(&[1, 2]),
            repeat_last: false,
        };
        let taken: Vec<_> = std::iter::from_fn(|| ends.next(&NoDice))
            .map(|d| d.as_secs())
            .collect();
        assert_eq!(taken, [1, 2]);
        let mut repeats = Schedule {
            intervals: seconds(&[1, 2]),
            repeat_last: true,
        };
        repeats.prepend(&seconds(&[9]));
        let taken: Vec<_> = (0..5)
            .filter_map(|_| repeats.next(&NoDice))
            .map(|d| d.as_secs())
            .collect();
        assert_eq!(taken, [9, 1, 2, 2, 2]);
    }

    proptest::proptest! {
        #[test]
        fn a_draw_stays_within_the_jitter(span in 0_u64..100_000_000, jitter in 0_u64..200_000_000) {
            let interval = RetryInterval::new(Duration::from_millis(span), Duration::from_millis(jitter));
            let drawn = RandomDice.draw(interval);
            let slack = Duration::from_millis(2);
            proptest::prop_assert!(drawn + slack >= interval.span() - interval.jitter());
            proptest::prop_assert!(drawn <= interval.span() + interval.jitter() + slack);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

        #[test]
        fn messages_deferred_together_are_spread(nth in 0_usize..8, jitter in 0.01_f64..1.0) {
            let interval = RetryPolicy::default().intervals[nth];
            let interval = RetryInterval::with_jitter(interval.span(), jitter);
            let dice = SpreadDice(Arc::new(RandomDice));
            let mut drawn: Vec<f64> = (0..2000).map(|_| dice.draw(interval).as_secs_f64()).collect();
            drawn.sort_by(f64::total_cmp);
            let span = interval.span().as_secs_f64();
            let (first, last) = (drawn[0], drawn[drawn.len() - 1]);
            proptest::prop_assert!(last - first >= span / 2.0, "{first}..{last} of {span}");
            // Evenly: no tenth of that time sees more than twice its part.
            let width = (last - first) / 10.0;
            for tenth in 0..10 {
                let from = first + width * f64::from(tenth);
                let count = drawn.iter().filter(|at| (from..from + width).contains(*at)).count();
                proptest::prop_assert!(count < 400, "{count} of 2000 from {from}");
            }
        }
    }

    #[test]
    fn an_interval_without_jitter_is_never_spread() {
        let interval = RetryInterval::new(Duration::from_secs(60), Duration::ZERO);
        assert_eq!(interval.spread(), interval);
        let wide = RetryInterval::with_jitter(Duration::from_secs(60), 0.5);
        assert_eq!(wide.spread(), wide);
    }

    #[test]
    fn draws_fill_the_jitter_evenly() {
        let interval = RetryInterval::with_jitter(Duration::from_secs(100), 0.5);
        let draws: Vec<f64> = (0..4000)
            .map(|_| RandomDice.draw(interval).as_secs_f64())
            .collect();
        let quarter = |low: f64| draws.iter().filter(|d| (low..low + 25.0).contains(*d)).count();
        for low in [50.0, 75.0, 100.0, 125.0] {
            assert!(
                (800..1200).contains(&quarter(low)),
                "{} draws from {low}",
                quarter(low)
            );
        }
    }
}
