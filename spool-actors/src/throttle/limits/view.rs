//! What can be seen of the limits, and what was learned.

use super::paths::with_times;
use super::{Limits, share};
use crate::engine::{DestinationCounts, DestinationId, Now};
use crate::outcome::DestinationState;
use crate::throttle::path::Path;
use spool_core::{Hold, LearnedDestination, NextHop};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

impl Limits {
    /// Whether no permit is out, and nobody waits for one.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        let waits = self.destinations.values().any(|known| known.waiting > 0);
        self.permits.is_empty() && self.jobs == 0 && self.ready.is_empty() && !waits
    }

    /// The path of a destination; where that is not known, the path with its hosts.
    fn path_of(&self, destination: DestinationId, next_hops: &Arc<[NextHop]>) -> Option<&Path> {
        let known = self.destinations.get(&destination);
        let id = known.and_then(|known| known.path);
        self.paths
            .get(&id.or_else(|| self.by_hops.get(next_hops).copied())?)
    }

    /// Every limit that holds back a message of this destination with `ahead` others before it: the same that the next permit is
    /// granted by. With times of the wall clock.
    pub(crate) fn holds(
        &self,
        (destination, next_hops): (DestinationId, &Arc<[NextHop]>),
        ahead: usize,
        now: Now,
    ) -> Vec<Hold> {
        let known = self.destinations.get(&destination);
        if known.is_some_and(|known| known.path.is_none()) {
            return vec![Hold::PathLookup];
        }
        let path = self.path_of(destination, next_hops);
        let of_pace = match path {
            Some(path) => path.pace.holds(now.inside, path.out, ahead),
            None => self.fresh(next_hops).holds(now.inside, 0, ahead),
        };
        let mut holds: Vec<Hold> = of_pace.into_iter().map(|hold| on_wall(hold, now)).collect();
        if self.setup.max_jobs == 0 {
            // Delivery is paused: the queue tells of that.
            return holds;
        }
        let (max, running) = (self.setup.max_jobs, self.jobs);
        if running >= max {
            holds.push(Hold::JobsLimit { max, running });
        }
        let (max, running) = (self.setup.max_sessions, self.permits.len());
        if running >= max {
            holds.push(Hold::SessionsLimit { max, running });
        }
        if path.is_some_and(|path| self.is_greedy(path)) {
            let max = share(self.setup.max_jobs).min(share(self.setup.max_sessions));
            holds.push(Hold::FairShare { max });
        }
        holds
    }

    /// The state of each destination of which the engine has counted messages, and of those paths of which something is known beside them; those
    /// with the most messages come first.
    pub(crate) fn states(&self, counted: Vec<DestinationCounts>, now: Now) -> Vec<DestinationState> {
        let of = |counts: DestinationCounts| {
            let hops = &counts.next_hops;
            let state = match self.path_of(counts.destination, hops) {
                Some(path) => path.pace.state(&path.hops, now),
                None => self.fresh(hops).state(hops, now),
            };
            DestinationState {
                next_hops: counts.next_hops,
                messages: counts.messages,
                waiting: counts.waiting,
                running: counts.running,
                ..state
            }
        };
        let mut states: Vec<_> = counted.into_iter().map(of).collect();
        let seen: HashSet<_> = states.iter().map(|state| Arc::clone(&state.path)).collect();
        // A path may be kept for a permit alone.
        let others = self
            .paths
            .values()
            .filter(|path| path.pace.is_worth_remembering());
        let others = others.filter(|path| !seen.contains(&path.hops));
        states.extend(others.map(|path| path.pace.state(&path.hops, now)));
        states.sort_by(|a, b| {
            let by_messages = b.messages.cmp(&a.messages);
            by_messages.then_with(|| a.next_hops.cmp(&b.next_hops))
        });
        states
    }

    /// The same as [`Limits::learned`], if something was learned since the last call.
    pub(crate) fn learned_more(&mut self, now: Now) -> Option<Vec<LearnedDestination>> {
        std::mem::take(&mut self.learned_more).then(|| self.learned(now))
    }

    /// What is worth remembering of all paths, the newest first; with times of the wall clock.
    pub(crate) fn learned(&mut self, now: Now) -> Vec<LearnedDestination> {
        self.forget_stale(self.resting.clone(), now);
        let learned = self.paths.values().filter_map(|path| {
            let learned = path.pace.learned(&path.hops, now.inside)?;
            Some(with_times(learned, |at| now.wall_of(at)))
        });
        let mut learned: Vec<_> = learned.collect();
        learned.sort_by_key(|learned| Reverse(learned.at));
        learned
    }
}

/// The hold of a pace with a time of the wall clock.
fn on_wall(mut hold: Hold, now: Now) -> Hold {
    if let Hold::RateLimit { until, .. } | Hold::Circuit { until, .. } = &mut hold {
        *until = now.wall_of(*until);
    }
    hold
}
