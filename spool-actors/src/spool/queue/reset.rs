//! Forgets what was learned of a destination.

use super::{Queue, Sight};
use spool_core::{NextHop, Timestamp};
use std::sync::Arc;

impl Queue {
    /// Forgets what was learned of the destination with these next hops, whether it has messages or not. Gives how it was doing; `None`:
    /// nothing is known of it.
    pub(in crate::spool) fn reset(&mut self, next_hops: &[NextHop], now: Timestamp) -> Option<Sight> {
        let mut sights = self.sights(now).into_iter();
        let before = sights.find(|sight| *sight.next_hops == *next_hops)?;
        match self.by_hops.get(next_hops).copied() {
            Some(destination) => {
                if let Some(slot) = self.slot(destination) {
                    slot.pace.reset();
                }
                self.touch(destination);
            }
            None => {
                let mut pace = self.ways.pace(&before.next_hops, now);
                pace.reset();
                self.ways.rest(Arc::clone(&before.next_hops), pace);
            }
        }
        Some(before)
    }
}
