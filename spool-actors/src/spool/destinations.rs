//! Looking at destinations, and forgetting what was learned of them.

use super::SpoolActor;
use crate::engine::{DestinationCounts, Now};
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

/// The state of one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationState {
    /// Its next hops, in order.
    pub next_hops: Arc<[NextHop]>,
    /// The path of its mail: the hosts by which its limits are counted. Destinations with the same path share the limits, and what was
    /// learned.
    #[serde(default)]
    pub path: Arc<[NextHop]>,
    /// Messages on the spool.
    pub messages: usize,
    /// Messages that are due and not being sent.
    pub waiting: usize,
    /// Running sessions.
    pub running: usize,
    /// The window: sessions at once that are allowed at present.
    pub limit: usize,
    /// The connection limit: the most sessions at once.
    pub max: usize,
    /// Why the window is below the connection limit: the text of the reply or the error.
    pub limit_reason: Option<String>,
    /// Messages a second: the lower one of the configured and the learned rate; `None`: there is neither.
    pub rate_per_second: Option<f64>,
    /// Why a rate was learned: the text of the reply.
    pub rate_reason: Option<String>,
    /// The state of its circuit.
    pub circuit: Circuit,
    /// The time and the text of the last error.
    pub last_error: Option<(Timestamp, String)>,
}

/// The state of the circuit of a destination: whether it is paused because it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Circuit {
    /// It is not paused.
    Closed,
    /// It is paused.
    Open {
        /// The end of the pause.
        until: Timestamp,
        /// Failures in a row.
        failures: u32,
        /// The text of the last failure.
        reason: String,
    },
    /// The pause is over, and one message is tried as the probe.
    HalfOpen {
        /// Failures in a row.
        failures: u32,
        /// The text of the last failure.
        reason: String,
    },
}

impl DestinationState {
    fn new(counts: DestinationCounts, (path, doing): (Arc<[NextHop]>, Doing), now: Now) -> Self {
        let configured = doing
            .rate
            .map(|rate| f64::from(rate.messages.get()) / rate.per.as_secs_f64());
        let learned = doing
            .learned_interval
            .map(|interval| 1.0 / interval.as_secs_f64());
        Self {
            next_hops: counts.next_hops,
            path,
            messages: counts.messages,
            waiting: counts.waiting,
            running: counts.running,
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
        let (now, counts) = (self.now(), self.engine.queue().counts());
        let asked = counts
            .iter()
            .map(|counts| Arc::clone(&counts.next_hops))
            .collect();
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
            Ok(states(counts, doings, now))
        })
    }
}

fn states(counts: Vec<DestinationCounts>, doings: Doings, now: Now) -> Vec<DestinationState> {
    let with_messages = counts.into_iter().zip(doings.asked);
    let with_messages = with_messages.map(|(counts, doing)| DestinationState::new(counts, doing, now));
    let others = doings.others.into_iter().map(|(path, doing)| {
        let counts = DestinationCounts {
            next_hops: Arc::clone(&path),
            messages: 0,
            waiting: 0,
            running: 0,
        };
        DestinationState::new(counts, (path, doing), now)
    });
    let mut states: Vec<_> = with_messages.chain(others).collect();
    states.sort_by(|a, b| {
        let by_messages = b.messages.cmp(&a.messages);
        by_messages.then_with(|| a.next_hops.cmp(&b.next_hops))
    });
    states
}

/// Forgets what was learned of the path of a destination: its window, its learned rate and its circuit. The limits of its policy stay, and so
/// does the use of its configured rate. The next hops name the destination or its path; other destinations with the same path are affected
/// as well. Replies with the state before, or `None` when no destination or path has these next hops.
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
