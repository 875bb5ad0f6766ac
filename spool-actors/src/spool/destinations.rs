//! Looking at destinations, and forgetting what was learned of them.

use super::SpoolActor;
use crate::engine::{Input, Now, Sight};
use actix::{Context, Handler, Message};
use serde::{Deserialize, Serialize};
use spool_core::{NextHop, SpoolError, Timestamp};
use std::sync::Arc;

/// Asks how every destination is doing that has messages, or of which something is known; those with the most messages come
/// first. Replies from memory, at once.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<DestinationState>, SpoolError>")]
pub struct Destinations;

/// How one destination is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationState {
    /// Which: its next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// Messages on the spool.
    pub messages: usize,
    /// Those that are due and not being sent.
    pub waiting: usize,
    /// Sessions now.
    pub running: usize,
    /// Sessions it takes at once, as far as is known.
    pub limit: usize,
    /// Sessions it may be sent at once.
    pub max: usize,
    /// Why fewer than it may, in its own words.
    pub limit_reason: Option<String>,
    /// Messages a second that are configured or learned, whichever is lower; `None`: as fast as it takes them.
    pub rate_per_second: Option<f64>,
    /// Why there is a rate that is not configured, in its own words.
    pub rate_reason: Option<String>,
    /// Whether it is left alone.
    pub circuit: Circuit,
    /// When something last went wrong, and what it said.
    pub last_error: Option<(Timestamp, String)>,
}

/// Whether a destination is left alone because it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Circuit {
    /// It is not.
    Closed,
    /// It is.
    Open {
        /// Until then.
        until: Timestamp,
        /// Failures in a row.
        failures: u32,
        /// What the last one said.
        reason: String,
    },
    /// One message tries whether it answers again.
    HalfOpen {
        /// Failures in a row.
        failures: u32,
        /// What the last one said.
        reason: String,
    },
}

impl DestinationState {
    fn new(sight: Sight, now: Now) -> Self {
        let doing = sight.doing;
        let configured = doing
            .rate
            .map(|rate| f64::from(rate.messages.get()) / rate.per.as_secs_f64());
        let learned = doing
            .learned_interval
            .map(|interval| 1.0 / interval.as_secs_f64());
        Self {
            next_hops: sight.next_hops,
            messages: sight.messages,
            waiting: sight.waiting,
            running: sight.running,
            limit: doing.limit,
            max: doing.max,
            limit_reason: doing.limit_reason,
            rate_per_second: configured.into_iter().chain(learned).reduce(f64::min),
            rate_reason: doing.rate_reason,
            circuit: match doing.circuit {
                None => Circuit::Closed,
                Some((until, failures, reason)) if until > now.inside => Circuit::Open {
                    until: now.wall_of(until),
                    failures,
                    reason,
                },
                Some((_, failures, reason)) => Circuit::HalfOpen { failures, reason },
            },
            last_error: doing.last_error.map(|(at, error)| (now.wall_of(at), error)),
        }
    }
}

impl Handler<Destinations> for SpoolActor {
    type Result = Result<Vec<DestinationState>, SpoolError>;

    fn handle(&mut self, _: Destinations, ctx: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        self.catch_up(ctx);
        let now = self.now();
        let sights = self.engine.sights(now).into_iter();
        Ok(sights.map(|sight| DestinationState::new(sight, now)).collect())
    }
}

/// Forgets what was learned of a destination: its concurrency window, its learned rate and its circuit are those of a new one. The limits of
/// its policy stay, and so does what its configured rate has let go. Replies how it was doing before, or `None` when nothing is known of
/// a destination with these next hops.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<DestinationState>, SpoolError>")]
pub struct ResetDestination(pub Arc<[NextHop]>);

impl Handler<ResetDestination> for SpoolActor {
    type Result = Result<Option<DestinationState>, SpoolError>;

    fn handle(&mut self, reset: ResetDestination, ctx: &mut Context<Self>) -> Self::Result {
        self.readable()?;
        self.catch_up(ctx);
        let now = self.now();
        let mut sights = self.engine.sights(now).into_iter();
        let before = sights.find(|sight| sight.next_hops == reset.0);
        if before.is_some() {
            tracing::info!(hops = ?reset.0, "what was learned of a destination is forgotten");
            self.feed(Input::ResetDestination(reset.0), ctx);
        }
        Ok(before.map(|sight| DestinationState::new(sight, now)))
    }
}
