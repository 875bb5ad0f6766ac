//! What operators see of a pace: its state, and what holds back its messages.

use super::Pace;
use crate::engine::Now;
use crate::outcome::{Circuit, DestinationState};
use spool_core::{Hold, NextHop, Timestamp};
use std::sync::Arc;

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

    /// The state of a path without messages, with times of the wall clock.
    pub(crate) fn state(&self, path: &Arc<[NextHop]>, now: Now) -> DestinationState {
        let configured = self.rate.as_ref().map(|rate| rate.0);
        let configured = configured.map(|rate| f64::from(rate.messages.get()) / rate.per.as_secs_f64());
        let per_second = configured.into_iter().chain(self.learned.per_second());
        DestinationState {
            next_hops: Arc::clone(path),
            path: Arc::clone(path),
            messages: 0,
            waiting: 0,
            running: 0,
            limit: self.limit(),
            max: self.max,
            limit_reason: self.limit_reason().map(str::to_owned),
            rate_per_second: per_second.reduce(f64::min),
            rate_reason: self.learned.reason().map(str::to_owned),
            circuit: match self.circuit.is_open() {
                None => Circuit::Closed,
                Some((until, failures, reason)) if until > now.inside => Circuit::Open {
                    until: now.wall_of(until),
                    failures,
                    reason: reason.to_owned(),
                },
                Some((_, failures, reason)) => Circuit::HalfOpen {
                    failures,
                    reason: reason.to_owned(),
                },
            },
            last_error: self
                .last_error
                .as_ref()
                .map(|error| (now.wall_of(error.0), error.1.to_string())),
        }
    }
}
