//! Whether many messages of a destination were deferred together: then they must not come back together.

use spool_core::Timestamp;
use std::time::Duration;

/// Messages of a destination that were deferred lately, and since when they are counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crowd(Option<(Timestamp, u32)>);

impl Crowd {
    /// Messages deferred within [`Crowd::SPAN`] that make a crowd.
    const COUNT: u32 = 16;
    const SPAN: Duration = Duration::from_secs(60);

    /// Whether so many were deferred a moment ago that they must not come back together.
    pub(super) fn is_crowded(self, now: Timestamp) -> bool {
        self.lately(now).is_some_and(|(_, count)| count >= Self::COUNT)
    }

    /// A message was deferred.
    pub(super) fn defer(&mut self, now: Timestamp) {
        let (since, count) = self.lately(now).unwrap_or((now, 0));
        self.0 = Some((since, count.saturating_add(1)));
    }

    fn lately(self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.0
            .filter(|(since, _)| *since <= now && now.since(*since) < Self::SPAN)
    }
}
