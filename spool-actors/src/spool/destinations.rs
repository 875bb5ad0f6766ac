//! Looking at destinations, and forgetting what was learned of them.

use super::SpoolActor;
use crate::outcome::DestinationState;
use actix::{Context, Handler, Message, ResponseFuture};
use spool_core::{NextHop, SpoolError};
use std::sync::Arc;

/// Asks how every destination is doing that has messages, or of which something is known; those with the most messages come
/// first. Replies from memory, at once.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<DestinationState>, SpoolError>")]
pub struct Destinations;

impl Handler<Destinations> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<DestinationState>, SpoolError>>;

    fn handle(&mut self, _: Destinations, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.catch_up(ctx);
        let (now, counts) = (self.now(), self.engine.queue.counts());
        Box::pin(self.ask_limits(now, move |limits| limits.states(counts, now)))
    }
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
        if let Err(error) = self.readable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.catch_up(ctx);
        let (now, counts) = (self.now(), self.engine.queue.counts());
        Box::pin(self.ask_limits(now, move |limits| {
            let mut states = limits.states(counts, now).into_iter();
            let named = |state: &DestinationState| state.next_hops == reset.0 || state.path == reset.0;
            let before = states.find(named);
            if before.is_some() {
                tracing::info!(hops = ?reset.0, "what was learned of a destination is forgotten");
                limits.reset(&reset.0);
            }
            before
        }))
    }
}
