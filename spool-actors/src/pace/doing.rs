//! What operators see of a pace: its state, and what holds back its messages.

use super::Pace;
use spool_core::{Hold, Rate, Timestamp};
use std::time::Duration;

/// The state of a pace, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doing {
    pub(crate) limit: usize,
    pub(crate) max: usize,
    pub(crate) limit_reason: Option<String>,
    pub(crate) rate: Option<Rate>,
    /// The time between two messages, where that is learned.
    pub(crate) learned_interval: Option<Duration>,
    pub(crate) rate_reason: Option<String>,
    pub(crate) circuit: Option<(Timestamp, u32, String)>,
    pub(crate) last_error: Option<(Timestamp, String)>,
}

impl Pace {
    /// Why they are fewer than they may be.
    fn limit_reason(&self) -> Option<&str> {
        let failed = self.last_error.as_ref().map(|error| &*error.1);
        let failing = failed.filter(|_| self.circuit.is_failing());
        failing.or_else(|| self.window.reason())
    }

    /// What holds back a message with `ahead` others before it, while `running` sessions run.
    pub(crate) fn holds(&self, now: Timestamp, running: usize, ahead: usize) -> Vec<Hold> {
        let mut holds = Vec::new();
        if let Some((until, failures, reason)) = self.circuit.is_open() {
            let reason = reason.to_owned();
            holds.push(Hold::Circuit {
                until,
                reason,
                failures,
            });
        }
        let configured = self.rate.as_ref().map(|rate| (&rate.1, None));
        let learned = self
            .learned
            .bucket()
            .map(|bucket| (bucket, self.learned.reason()));
        for (bucket, reason) in configured.into_iter().chain(learned) {
            if bucket.tokens(now) <= ahead {
                holds.push(Hold::RateLimit {
                    until: bucket.when(now, ahead),
                    learned: reason.map(str::to_owned),
                });
            }
        }
        let (limit, max) = (self.limit(), self.max);
        if running >= limit && limit < max {
            let unknown = "more have not been tried yet";
            let reason = self.limit_reason().unwrap_or(unknown).to_owned();
            holds.push(Hold::Adapted { limit, max, reason });
        } else if running >= limit {
            holds.push(Hold::DestinationLimit { max, running });
        }
        holds
    }

    pub(crate) fn doing(&self) -> Doing {
        let interval = self.learned.per_second().map(|rate| 1.0 / rate);
        Doing {
            limit: self.limit(),
            max: self.max,
            limit_reason: self.limit_reason().map(str::to_owned),
            rate: self.rate.as_ref().map(|rate| rate.0),
            learned_interval: interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            rate_reason: self.learned.reason().map(str::to_owned),
            circuit: self
                .circuit
                .is_open()
                .map(|(until, failures, reason)| (until, failures, reason.to_owned())),
            last_error: self
                .last_error
                .as_ref()
                .map(|error| (error.0, error.1.to_string())),
        }
    }
}
