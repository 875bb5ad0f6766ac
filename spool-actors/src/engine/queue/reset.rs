//! Forgets what was learned of a destination.

use super::{Now, Queue, World};
use spool_core::NextHop;
use std::sync::Arc;

impl<W: World> Queue<W> {
    /// Forgets what was learned of the destination with these next hops, whether it has messages or not.
    pub(in crate::engine) fn reset(&mut self, next_hops: &Arc<[NextHop]>, now: Now) {
        match self.by_hops.get(next_hops).copied() {
            Some(destination) => {
                if let Some(slot) = self.slot(destination) {
                    slot.pace.reset();
                }
                self.touch(destination);
            }
            None => {
                let mut pace = self.ways.pace(next_hops, now);
                pace.reset();
                self.ways.rest(Arc::clone(next_hops), pace);
            }
        }
    }
}
