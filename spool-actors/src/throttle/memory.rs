//! What is asked of every path, and what was learned of those that no destination has now.

use crate::engine::Now;
use crate::pace::Pace;
use spool_core::store::MAX_DESTINATIONS;
use spool_core::{LearnedDestination, NextHop, Policies};
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    /// Sessions at once, where a policy does not say.
    max: usize,
    policies: Policies,
    /// Never more than [`MAX_DESTINATIONS`].
    resting: HashMap<Arc<[NextHop]>, Box<Pace>>,
}

impl Memory {
    /// `learned` comes from a former process, with times of the wall clock.
    pub(super) fn new(max: usize, policies: Policies, learned: Vec<LearnedDestination>, now: Now) -> Self {
        let mut memory = Self {
            max,
            policies,
            resting: HashMap::new(),
        };
        for learned in learned.into_iter().take(MAX_DESTINATIONS) {
            let hops = Arc::clone(&learned.next_hops);
            let mut pace = memory.fresh(&hops);
            pace.remember(inside(learned, now), now.inside);
            memory.resting.insert(hops, Box::new(pace));
        }
        memory
    }

    pub(super) fn set_policies(&mut self, policies: Policies) {
        self.policies = policies;
    }

    fn fresh(&self, hops: &[NextHop]) -> Pace {
        Pace::new(&self.policies.of(hops), self.max)
    }

    /// The pace of a destination that has messages again. What is too old is forgotten.
    pub(super) fn pace(&mut self, hops: &Arc<[NextHop]>, now: Now) -> Pace {
        let known = self.resting.remove(hops);
        let Some(mut pace) = known.filter(|pace| !pace.is_stale(now.inside)) else {
            return self.fresh(hops);
        };
        self.follow(hops, &mut pace);
        *pace
    }

    /// What holds for a destination now.
    pub(super) fn follow(&self, hops: &[NextHop], pace: &mut Pace) {
        pace.set_policy(&self.policies.of(hops), self.max);
    }

    /// A destination has no messages any more. One of which there is nothing to tell is forgotten.
    pub(super) fn rest(&mut self, hops: Arc<[NextHop]>, pace: Pace) {
        if !pace.is_worth_remembering() {
            return;
        }
        if self.resting.len() >= MAX_DESTINATIONS {
            // Any of them: what is lost is learned again.
            let any = self.resting.keys().next().cloned();
            any.and_then(|any| self.resting.remove(&any));
        }
        self.resting.insert(hops, Box::new(pace));
    }

    /// The pace of a path that nobody has.
    pub(super) fn look(&self, hops: &Arc<[NextHop]>) -> Pace {
        let resting = self.resting.get(hops);
        resting.map_or_else(|| self.fresh(hops), |pace| pace.as_ref().clone())
    }

    /// Forgets what was learned of a path that nobody has.
    pub(super) fn reset(&mut self, hops: &Arc<[NextHop]>) {
        if let Some(mut pace) = self.resting.remove(hops) {
            pace.reset();
            self.rest(Arc::clone(hops), *pace);
        }
    }

    /// What is worth remembering of those that rest. What is too old is forgotten.
    pub(super) fn learned(&mut self, now: Now) -> Vec<LearnedDestination> {
        self.resting.retain(|_, pace| !pace.is_stale(now.inside));
        let learned = self
            .resting()
            .filter_map(|(hops, pace)| pace.learned(hops, now.inside));
        learned.map(|learned| on_wall(learned, now)).collect()
    }

    /// The paces of those that rest.
    pub(super) fn resting(&self) -> impl Iterator<Item = (&Arc<[NextHop]>, &Pace)> {
        self.resting.iter().map(|(hops, pace)| (hops, pace.as_ref()))
    }
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
