//! Which path a destination has: it is asked for when the destination has messages, and again now and then.

use super::{Limits, Output};
use crate::engine::{DestinationId, News, Now};
use spool_core::NextHop;
use std::sync::Arc;

/// Paths that are looked up at once.
const MAX_LOOKUPS: usize = 256;

impl Limits {
    /// A path was looked up.
    pub(crate) fn looked_up(&mut self, destination: DestinationId, hops: &Arc<[NextHop]>, now: Now) {
        self.lookups = self.lookups.saturating_sub(1);
        let path = self.path(hops, now);
        self.touch(path);
        // It may have gone.
        let Some(known) = self.destinations.get_mut(&destination) else {
            return;
        };
        known.is_looking = std::mem::take(&mut known.is_outdated);
        known.looked_up = now.inside;
        if known.is_looking {
            self.to_look_up.push_back(destination);
        }
        if known.path == Some(path) {
            return;
        }
        self.leave_path(destination);
        if let Some(known) = self.destinations.get_mut(&destination) {
            (known.path, known.recent) = (Some(path), 0);
        }
        self.resting.remove(&path);
        if let Some(path) = self.paths.get_mut(&path) {
            path.destinations += 1;
        }
        self.outputs.push(Output::News(News::Path(destination, path)));
        self.line_up(destination);
    }

    /// The destination has no path any more.
    pub(super) fn leave_path(&mut self, destination: DestinationId) {
        let Some(known) = self.destinations.get_mut(&destination) else {
            return;
        };
        if let Some(id) = known.path.take()
            && let Some(path) = self.paths.get_mut(&id)
        {
            path.turns.set(destination, &mut known.place, None);
            path.destinations -= 1;
            self.touched.insert(id);
        }
    }

    pub(super) fn start_lookups(&mut self) {
        while self.lookups < MAX_LOOKUPS
            && let Some(destination) = self.to_look_up.pop_front()
        {
            let known = self.destinations.get(&destination);
            if let Some(known) = known.filter(|known| known.is_looking) {
                self.lookups += 1;
                let next_hops = Arc::clone(&known.next_hops);
                self.outputs.push(Output::LookUp(destination, next_hops));
            }
        }
    }
}
