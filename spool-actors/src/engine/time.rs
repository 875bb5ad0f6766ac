//! The two clocks of a turn: the wall clock, and the inside clock of the process, which cannot be set.
//!
//! Whatever waits, waits for a time inside: it is not moved when the wall clock is set. Times on disk, and those that are shown, are
//! of the wall clock. Both are a [`Timestamp`]; those of the wall clock say so by their names.

use spool_core::Timestamp;
use std::time::Duration;

/// When a turn takes place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// What the wall clock shows.
    pub(crate) wall: Timestamp,
    /// The inside clock: it starts at the time of the wall clock and only goes forward.
    pub(crate) inside: Timestamp,
}

/// The end of time: never.
pub(crate) const NEVER: Timestamp = Timestamp(i64::MAX);

impl Now {
    /// The time of the inside clock at which the wall clock shows `wall`, if it is not set.
    pub(crate) const fn inside_of(self, wall: Timestamp) -> Timestamp {
        if wall.0 == NEVER.0 {
            return NEVER;
        }
        Timestamp(wall.0.saturating_sub(self.wall.0).saturating_add(self.inside.0))
    }

    /// The time of the wall clock at the time `inside`, if it is not set.
    pub(crate) const fn wall_of(self, inside: Timestamp) -> Timestamp {
        if inside.0 == NEVER.0 {
            return NEVER;
        }
        Timestamp(inside.0.saturating_sub(self.inside.0).saturating_add(self.wall.0))
    }
}

/// The inside clock: computed from the wall clock at its start and a monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InsideClock {
    /// The wall clock at its beginning, and what had passed then.
    began: (Timestamp, Duration),
    /// By how many milliseconds the wall clock is ahead of the time inside.
    ahead: i64,
    last: Timestamp,
    /// By how many milliseconds the wall clock was set before the last call of [`InsideClock::now`], if it was.
    pub(crate) set_by: Option<i64>,
}

impl InsideClock {
    /// Both clocks count whole milliseconds, each rounded by itself: by so much they part without being set.
    const ROUNDING: i64 = 2;
    /// Smaller differences are not reported: the clock is slewed, or the thread was delayed between two readings.
    const LEAST: i64 = 10_000;

    /// A clock that starts now.
    pub(crate) const fn new(wall: Timestamp, passed: Duration) -> Self {
        Self {
            began: (wall, passed),
            ahead: 0,
            last: wall,
            set_by: None,
        }
    }

    /// The present time. A time converted to the other clock and back is unchanged, unless the wall clock was set.
    pub(crate) fn now(&mut self, wall: Timestamp, passed: Duration) -> Now {
        let (began, passed_then) = self.began;
        let inside = began.after(passed.saturating_sub(passed_then));
        let parted = wall.0.saturating_sub(inside.0).saturating_sub(self.ahead);
        if parted.saturating_abs() > Self::ROUNDING {
            self.ahead = self.ahead.saturating_add(parted);
        }
        self.set_by = Some(parted).filter(|parted| parted.saturating_abs() >= Self::LEAST);
        self.last = self.last.max(Timestamp(wall.0.saturating_sub(self.ahead)));
        Now {
            wall,
            inside: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_moves_no_time_and_the_time_inside_only_goes_on() {
        let at = |millis: u64| Duration::from_millis(millis);
        let mut clock = InsideClock::new(Timestamp(1_000), at(5));
        let first = clock.now(Timestamp(1_000), at(5));
        let due = first.inside_of(Timestamp(61_000));
        // A millisecond more by one of them, and less.
        for (wall, passed) in [(1_101, at(105)), (1_199, at(205)), (1_300, at(304))] {
            let now = clock.now(Timestamp(wall), passed);
            assert_eq!(now.wall_of(due), Timestamp(61_000), "{wall}");
        }
        // Set back by an hour, and forward again.
        let before = clock.last;
        let back = clock.now(Timestamp(1_400 - 3_600_000), at(405));
        assert!(
            back.inside > before && back.inside <= Timestamp(1_402),
            "{back:?}"
        );
        assert_eq!(due.since(back.inside), at(59_600));
        let again = clock.now(Timestamp(1_500), at(505));
        assert!(
            again.inside >= back.inside && again.inside <= Timestamp(1_502),
            "{again:?}"
        );
    }

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let mut clock = InsideClock::new(Timestamp(1_000_000), Duration::ZERO);
        let day = Duration::from_secs(86_400);
        clock.now(Timestamp(87_400_000), day);
        assert_eq!(clock.set_by, None);
        for (to, jump) in [
            (87_409_000, None),
            (0, Some(-87_409_000)),
            (500_000, Some(500_000)),
        ] {
            clock.now(Timestamp(to), day);
            assert_eq!(clock.set_by, jump);
            clock.now(Timestamp(to), day);
            assert_eq!(clock.set_by, None);
        }
    }

    #[test]
    fn setting_the_wall_clock_does_not_change_a_wait() {
        let now = Now {
            wall: Timestamp(1_000),
            inside: Timestamp(1_000),
        };
        let due = now.inside_of(Timestamp(61_000));
        // An hour later by the wall clock, and ten seconds in truth.
        let now = Now {
            wall: Timestamp(3_601_000),
            inside: Timestamp(11_000),
        };
        assert_eq!(due, Timestamp(61_000));
        assert_eq!(now.wall_of(due), Timestamp(3_651_000));
        assert_eq!(now.inside_of(now.wall_of(due)), due);
        assert_eq!(now.wall_of(now.inside_of(NEVER)), NEVER);
    }
}
