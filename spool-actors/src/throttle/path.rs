//! One path: the hosts that several destinations may share, their pace, and whose turn it is among the destinations.

use super::turns::{Place, Turns};
use crate::engine::{DestinationId, Outlook};
use crate::pace::Pace;
use spool_core::{NextHop, Timestamp};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Path {
    pub(super) hops: Arc<[NextHop]>,
    pub(super) pace: Pace,
    /// Destinations that have it.
    pub(super) destinations: usize,
    /// Permits out.
    pub(super) out: usize,
    /// Of them, those that were granted since the limit of jobs was set.
    pub(super) recent: usize,
    /// Of them, those under which an attempt is made.
    pub(super) running: usize,
    /// Destinations that wait.
    pub(super) turns: Turns<DestinationId>,
    /// Its place among the paths that have a destination that waits and room for it.
    pub(super) place: Option<Place>,
    /// When its outlook must be computed again because time has passed.
    pub(super) opens: Option<Timestamp>,
    /// What was last told of it.
    pub(super) told: Option<Outlook>,
}

impl Path {
    /// Whether a destination waits and the path takes one more attempt.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        !self.turns.is_empty() && self.pace.free(now, self.out) > 0
    }

    /// Whether nobody has it: what was learned of it rests.
    pub(super) const fn is_resting(&self) -> bool {
        self.destinations == 0 && self.out == 0
    }

    pub(super) fn outlook(&self, now: Timestamp) -> Outlook {
        Outlook {
            limit: self.pace.limit(),
            goes_on: self.pace.is_unhindered() && self.out <= self.pace.limit() && !self.is_contended(),
            until: self.pace.opens_at(now),
            is_shut: self.pace.is_shut(now),
        }
    }

    /// Whether a destination waits that has fewer permits than its share: those of others come back after each message. To be asked once no
    /// more can be granted.
    fn is_contended(&self) -> bool {
        let mut turns = self.turns.iter().map(|(permits, _)| permits);
        let Some(fewest) = turns.next() else {
            return false;
        };
        let fewest_may_have_one = fewest == 0 && self.out > 0;
        fewest_may_have_one || fewest + 1 < turns.next_back().unwrap_or(fewest)
    }
}
