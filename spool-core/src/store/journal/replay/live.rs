//! The live messages of a replay. A message takes 48 bytes, plus its entry in the index.

use crate::clock::Timestamp;
use crate::frozen::FrozenKind;
use crate::id::MessageId;
use crate::message::{RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::store::types::Recovered;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The expiry of a message that does not expire.
pub(super) const NEVER: Timestamp = Timestamp(i64::MAX);

/// What the queue needs to know of a live message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    /// Without meaning for a frozen message.
    pub(super) due: Timestamp,
    pub(super) frozen: Option<FrozenKind>,
    /// Seconds of the retry interval it waits for, rounded up.
    pub(super) wait: Option<NonZeroU32>,
    pub(super) spooled_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The number of its route.
    pub(super) hops: u32,
    pub(super) body_size: u32,
    /// Memory of its envelope and of the list of related messages.
    pub(super) fixed: u32,
    /// Memory of its history, as of its latest state.
    pub(super) history: u32,
}

/// Next hops, and where they come from.
pub(super) type Route = (Arc<[NextHop]>, RouteOrigin);

/// An attempt that has started and not ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) at: Timestamp,
    /// Whether the message was rerouted since.
    pub(super) rerouted: bool,
}

impl Live {
    fn status(&self) -> Status {
        match self.frozen {
            Some(_) => Status::Frozen,
            None => Status::SendAt(self.due),
        }
    }

    /// `frozen`: the reason, if it was recorded.
    pub(super) fn set(&mut self, status: Status, frozen: Option<FrozenKind>, wait: Option<Duration>) {
        let seconds = |wait: Duration| NonZeroU32::new(u32::try_from(wait.as_millis().div_ceil(1000)).ok()?);
        self.wait = wait.and_then(seconds);
        match status {
            Status::Frozen => self.frozen = frozen.or(self.frozen).or(Some(FrozenKind::Held)),
            Status::SendAt(due) => {
                self.frozen = None;
                self.due = due;
            }
        }
    }

    /// The message `id`, with the routes by number, and its attempt if one has started.
    pub(super) fn recovered(&self, id: MessageId, hops: &[Route], begun: Option<InFlight>) -> Recovered {
        let hops = usize::try_from(self.hops)
            .ok()
            .and_then(|number| hops.get(number));
        let (next_hops, origin) = hops
            .cloned()
            .unwrap_or_else(|| ([].into(), RouteOrigin::default()));
        Recovered {
            id,
            status: self.status(),
            frozen: self.frozen,
            in_flight: begun.map(|begun| begun.at),
            rerouted: begun.is_some_and(|begun| begun.rerouted),
            spooled_at: self.spooled_at,
            expires_at: Some(self.expires_at).filter(|at| *at != NEVER),
            next_hops,
            origin,
            wait: self
                .wait
                .map(|seconds| Duration::from_secs(u64::from(seconds.get()))),
            body_size: u64::from(self.body_size),
            footprint: u64::from(self.fixed) + u64::from(self.history),
        }
    }
}
