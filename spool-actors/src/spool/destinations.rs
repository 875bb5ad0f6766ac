//! Looking at destinations, and forgetting what was learned of them.

use super::SpoolActor;
use crate::engine::{Now, Sight};
use crate::pace::Doing;
use crate::throttle::Doings;
use crate::throttle::messages::{GetDoings, Set};
use actix::{Context, Handler, Message, ResponseFuture};
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
    /// The path of its mail: the hosts by which its limits are counted. Destinations with the same path share the limits, and what was
    /// learned.
    #[serde(default)]
    pub path: Arc<[NextHop]>,
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
    fn new(sight: Sight, (path, doing): (Arc<[NextHop]>, Doing), now: Now) -> Self {
        let configured = doing
            .rate
            .map(|rate| f64::from(rate.messages.get()) / rate.per.as_secs_f64());
        let learned = doing
            .learned_interval
            .map(|interval| 1.0 / interval.as_secs_f64());
        Self {
            next_hops: sight.next_hops,
            path,
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
    type Result = ResponseFuture<Result<Vec<DestinationState>, SpoolError>>;

    fn handle(&mut self, _: Destinations, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.catch_up(ctx);
        let (now, sights) = (self.now(), self.engine.sights());
        let asked = sights.iter().map(|sight| Arc::clone(&sight.next_hops)).collect();
        let doings = self
            .throttle
            .as_ref()
            .map(|throttle| throttle.send(GetDoings(asked, now)));
        let supervision = self.supervision.clone();
        Box::pin(async move {
            let Some(doings) = doings else {
                return Err(supervision.error());
            };
            let doings = doings.await.map_err(|_| supervision.error())?;
            Ok(states(sights, doings, now))
        })
    }
}

fn states(sights: Vec<Sight>, doings: Doings, now: Now) -> Vec<DestinationState> {
    let with_messages = sights.into_iter().zip(doings.asked);
    let with_messages = with_messages.map(|(sight, doing)| DestinationState::new(sight, doing, now));
    let others = doings.others.into_iter().map(|(path, doing)| {
        let sight = Sight {
            next_hops: Arc::clone(&path),
            messages: 0,
            waiting: 0,
            running: 0,
        };
        DestinationState::new(sight, (path, doing), now)
    });
    let mut states: Vec<_> = with_messages.chain(others).collect();
    states.sort_by(|a, b| {
        let by_messages = b.messages.cmp(&a.messages);
        by_messages.then_with(|| a.next_hops.cmp(&b.next_hops))
    });
    states
}

/// Forgets what was learned of a destination: its concurrency window, its learned rate and its circuit are those of a new one. The limits of
/// its policy stay, and so does what its configured rate has let go. Named is the destination, or its path; other destinations with
/// the same path are new ones as well. Replies how it was doing before, or `None` when nothing is known of a destination or path with these
/// next hops.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<DestinationState>, SpoolError>")]
pub struct ResetDestination(pub Arc<[NextHop]>);

impl Handler<ResetDestination> for SpoolActor {
    type Result = ResponseFuture<Result<Option<DestinationState>, SpoolError>>;

    fn handle(&mut self, reset: ResetDestination, ctx: &mut Context<Self>) -> Self::Result {
        let states = self.handle(Destinations, ctx);
        let (throttle, now) = (self.throttle.clone(), self.now());
        Box::pin(async move {
            let mut states = states.await?.into_iter();
            let named = |state: &DestinationState| state.next_hops == reset.0 || state.path == reset.0;
            let before = states.find(named);
            if let Some(throttle) = throttle.filter(|_| before.is_some()) {
                tracing::info!(hops = ?reset.0, "what was learned of a destination is forgotten");
                throttle.do_send(Set::Reset(reset.0, now));
            }
            Ok(before)
        })
    }
}
