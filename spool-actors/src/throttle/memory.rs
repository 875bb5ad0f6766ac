//! What is asked of every path, and what was learned of those that no destination has now.

use crate::engine::Now;
use crate::pace::{MEMORY, Pace};
use spool_core::store::MAX_DESTINATIONS;
use spool_core::{DestinationPolicy, LearnedDestination, NextHop, Policies};
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Sessions at once, where a policy does not say.
    max: usize,
    policies: Policies,
    /// Never more than [`MAX_DESTINATIONS`].
    resting: HashMap<Arc<[NextHop]>, Rest>,
}

#[derive(Debug)]
enum Rest {
    /// From a former process, with times of the wall clock.
    Learned(LearnedDestination),
    Pace(Box<Pace>),
}

impl Memory {
    /// `learned` comes from a former process.
    pub(super) fn new(max: usize, policies: Policies, learned: Vec<LearnedDestination>) -> Self {
        let rest = |learned: LearnedDestination| (Arc::clone(&learned.next_hops), Rest::Learned(learned));
        Self {
            max,
            policies,
            resting: learned.into_iter().take(MAX_DESTINATIONS).map(rest).collect(),
        }
    }

    pub(super) fn set_policies(&mut self, policies: Policies) {
        self.policies = policies;
    }

    /// The pace of a destination that has messages again.
    pub(super) fn pace(&mut self, next_hops: &Arc<[NextHop]>, now: Now) -> Pace {
        let policy = self.policies.of(next_hops);
        match self.resting.remove(next_hops) {
            None => Pace::new(&policy, self.max),
            Some(Rest::Learned(learned)) => remembering(&policy, self.max, learned, now),
            Some(Rest::Pace(mut pace)) => {
                pace.set_policy(&policy, self.max);
                *pace
            }
        }
    }

    /// What holds for a destination now.
    pub(super) fn follow(&self, next_hops: &[NextHop], pace: &mut Pace) {
        pace.set_policy(&self.policies.of(next_hops), self.max);
    }

    /// A destination has no messages any more. One of which there is nothing to tell is forgotten.
    pub(super) fn rest(&mut self, next_hops: Arc<[NextHop]>, pace: Pace) {
        if !pace.is_worth_remembering() {
            return;
        }
        if self.resting.len() >= MAX_DESTINATIONS {
            // Any of them: what is lost is learned again.
            let any = self.resting.keys().next().cloned();
            any.and_then(|any| self.resting.remove(&any));
        }
        self.resting.insert(next_hops, Rest::Pace(Box::new(pace)));
    }

    /// The pace of a path that nobody has.
    pub(super) fn look(&self, hops: &Arc<[NextHop]>, now: Now) -> Pace {
        let policy = self.policies.of(hops);
        match self.resting.get(hops) {
            None => Pace::new(&policy, self.max),
            Some(Rest::Learned(learned)) => remembering(&policy, self.max, learned.clone(), now),
            Some(Rest::Pace(pace)) => pace.as_ref().clone(),
        }
    }

    /// Forgets what was learned of a path that nobody has.
    pub(super) fn reset(&mut self, hops: &Arc<[NextHop]>, now: Now) {
        let mut pace = self.pace(hops, now);
        pace.reset();
        self.rest(Arc::clone(hops), pace);
    }

    /// What is worth remembering of those that rest. What is too old is forgotten.
    pub(super) fn learned(&mut self, now: Now) -> Vec<LearnedDestination> {
        self.resting.retain(|_, rest| match rest {
            Rest::Learned(learned) => now.wall.since(learned.at) < MEMORY,
            Rest::Pace(pace) => !pace.is_stale(now.inside),
        });
        let learned = |(hops, rest): (&Arc<[NextHop]>, &Rest)| match rest {
            Rest::Learned(learned) => Some(learned.clone()),
            Rest::Pace(pace) => Some(on_wall(pace.learned(hops, now.inside)?, now)),
        };
        self.resting.iter().filter_map(learned).collect()
    }

    /// The paces of those that rest.
    pub(super) fn resting(&self, now: Now) -> impl Iterator<Item = (&Arc<[NextHop]>, Pace)> {
        let pace = move |(hops, rest): (&'_ Arc<[NextHop]>, &Rest)| match rest {
            Rest::Pace(pace) => pace.as_ref().clone(),
            Rest::Learned(learned) => remembering(&self.policies.of(hops), self.max, learned.clone(), now),
        };
        self.resting
            .iter()
            .map(move |(hops, rest)| (hops, pace((hops, rest))))
    }
}

/// A pace that goes on where a former process ended.
fn remembering(policy: &DestinationPolicy, max: usize, learned: LearnedDestination, now: Now) -> Pace {
    let mut pace = Pace::new(policy, max);
    pace.remember(inside(learned, now), now.inside);
    pace
}

/// What was learned, with times inside in place of those of the wall clock.
fn inside(mut learned: LearnedDestination, now: Now) -> LearnedDestination {
    learned.at = now.inside_of(learned.at);
    learned.next_message = learned.next_message.map(|at| now.inside_of(at));
    if let Some(circuit) = &mut learned.circuit {
        circuit.until = now.inside_of(circuit.until);
    }
    learned
}

/// What was learned, with times of the wall clock in place of those inside.
pub(super) fn on_wall(mut learned: LearnedDestination, now: Now) -> LearnedDestination {
    learned.at = now.wall_of(learned.at);
    learned.next_message = learned.next_message.map(|at| now.wall_of(at));
    if let Some(circuit) = &mut learned.circuit {
        circuit.until = now.wall_of(circuit.until);
    }
    learned
}
