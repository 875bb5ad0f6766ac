//! Counts events in a sliding window of slots.
//!
//! The count is never below the number of events in the window, so a limit on it is never exceeded in any period of the
//! window's length; events count for up to a twelfth of the window longer. A token bucket needs less memory, but allows twice its
//! rate in one such period, and has no count to show.

use std::time::Duration;

/// Slots of the window. One more is kept, because the window begins within the oldest.
const PARTS: u32 = 12;
const SLOTS: usize = 13;

/// The window; see the module. Times are monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Indexed by the number of the slot modulo their count.
    slots: [u32; SLOTS],
    /// The number of the newest slot.
    newest: u64,
}

/// The length of a slot, and the number of the slot of `now`.
fn slot(now: Duration, span: Duration) -> (u128, u64) {
    let length = (span.as_nanos() / u128::from(PARTS)).max(1);
    (length, u64::try_from(now.as_nanos() / length).unwrap_or(u64::MAX))
}

impl Window {
    /// Deletes counts older than the window.
    fn move_to(&mut self, number: u64) {
        let passed = number.saturating_sub(self.newest);
        let count = self.slots.len() as u64;
        for back in 0..passed.min(count) {
            self.clear(number - back);
        }
        self.newest = self.newest.max(number);
    }

    fn clear(&mut self, number: u64) {
        if let Some(slot) = self.slot(number) {
            *slot = 0;
        }
    }

    fn slot(&mut self, number: u64) -> Option<&mut u32> {
        let place = number % self.slots.len() as u64;
        self.slots.get_mut(usize::try_from(place).ok()?)
    }

    /// Counts one event at `now`.
    pub(super) fn add(&mut self, now: Duration, span: Duration) {
        self.move_to(slot(now, span).1);
        if let Some(slot) = self.slot(self.newest) {
            *slot = slot.saturating_add(1);
        }
    }

    /// Takes back the latest event.
    pub(super) fn take_back(&mut self) {
        for back in 0..self.slots.len() as u64 {
            let newest = self.newest;
            if let Some(slot) = newest.checked_sub(back).and_then(|number| self.slot(number))
                && *slot > 0
            {
                *slot -= 1;
                return;
            }
        }
    }

    /// The number of events in the last `span`.
    pub(super) fn count(&self, now: Duration, span: Duration) -> u64 {
        let mut moved = *self;
        moved.move_to(slot(now, span).1);
        moved.slots.iter().copied().map(u64::from).sum()
    }

    /// The time after `now` until the last `span` has fewer than `limit` events, without new ones; zero: now.
    pub(super) fn wait(&self, now: Duration, span: Duration, limit: u64) -> Duration {
        let (length, number) = slot(now, span);
        let mut moved = *self;
        moved.move_to(number);
        let mut left = moved.count(now, span);
        let mut oldest = number.saturating_sub(moved.slots.len() as u64 - 1);
        let mut free_at = now;
        while left >= limit.max(1) && oldest <= number {
            left -= moved.slot(oldest).map_or(0, |slot| u64::from(*slot));
            let leaves = u128::from(oldest.saturating_add(moved.slots.len() as u64)) * length;
            free_at = Duration::from_nanos(u64::try_from(leaves).unwrap_or(u64::MAX));
            oldest += 1;
        }
        free_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::default();
        let start = Duration::from_secs(1000);
        for _ in 0..5 {
            window.add(start, MINUTE);
        }
        assert_eq!(window.count(start, MINUTE), 5);
        assert_eq!(window.wait(start, MINUTE, 6), Duration::ZERO);
        let wait = window.wait(start, MINUTE, 5);
        assert!(wait >= MINUTE && wait <= Duration::from_secs(65), "{wait:?}");
        assert_eq!(window.count(start + wait, MINUTE), 0);
        assert_eq!(window.count(start + wait - Duration::from_millis(1), MINUTE), 5);
        window.take_back();
        assert_eq!(window.count(start, MINUTE), 4);
        assert_eq!(window.count(start + 100 * MINUTE, MINUTE), 0);
        let mut empty = Window::default();
        empty.take_back();
        assert_eq!(empty, Window::default());
    }

    proptest! {
        #[test]
        fn a_limit_holds_in_every_span_and_its_wait_is_exact(
            gaps in proptest::collection::vec(0_u64..9000, 1..120),
            limit in 1_u64..8,
            span_ms in 1_u64..30_000,
        ) {
            let span = Duration::from_millis(span_ms);
            let mut window = Window::default();
            let mut now = Duration::ZERO;
            let mut taken: Vec<Duration> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wait = window.wait(now, span, limit);
                prop_assert!(wait <= span + span / 12 + Duration::from_nanos(13));
                prop_assert_eq!(wait.is_zero(), window.count(now, span) < limit);
                if !wait.is_zero() {
                    prop_assert!(window.count(now + wait, span) < limit);
                    continue;
                }
                window.add(now, span);
                taken.push(now);
                let lately = taken.iter().filter(|at| **at + span > now).count() as u64;
                prop_assert!(lately <= limit && window.count(now, span) >= lately);
            }
        }
    }
}
