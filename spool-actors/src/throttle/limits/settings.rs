//! What can be set while a spool runs, and what is forgotten on demand.

use super::Limits;
use crate::engine::PathId;
use spool_core::{NextHop, Policies};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Limits {
    /// A new limit for the permits that are granted from now on. Those that are out are no longer counted.
    pub(crate) fn set_max_jobs(&mut self, max: usize) {
        self.setup.max_jobs = max;
        self.epoch += 1;
        self.jobs = 0;
        for (id, path) in &mut self.paths {
            path.recent = 0;
            self.touched.insert(*id);
        }
        self.destinations.values_mut().for_each(|known| known.recent = 0);
        for destination in self.destinations.keys().copied().collect::<Vec<_>>() {
            self.line_up(destination);
        }
    }

    /// Other policies, for what waits as well.
    pub(crate) fn set_policies(&mut self, policies: Policies) {
        self.setup.policies = policies;
        for (id, path) in &mut self.paths {
            let policy = self.setup.policies.of(&path.hops);
            path.pace.set_policy(&policy, self.setup.max_per_path);
            self.touched.insert(*id);
        }
        // What is a path of its own may have changed.
        for (id, known) in &mut self.destinations {
            match std::mem::replace(&mut known.is_looking, true) {
                true => known.is_outdated = true,
                false => self.to_look_up.push_back(*id),
            }
        }
    }

    /// Forgets what was learned of the path with these hosts, and of that of the destination with these next hops.
    pub(crate) fn reset(&mut self, hops: &Arc<[NextHop]>) {
        let of_destination = self.destinations.values();
        let mut of_destination = of_destination.filter(|known| known.next_hops == *hops);
        let own = self.by_hops.get(hops).copied();
        let ids: BTreeSet<PathId> = of_destination
            .find_map(|known| known.path)
            .into_iter()
            .chain(own)
            .collect();
        for id in &ids {
            if let Some(path) = self.paths.get_mut(id) {
                path.pace.reset();
            }
            self.touched.insert(*id);
        }
        self.learned_more = true;
    }
}
