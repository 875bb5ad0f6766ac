//! The two times of a turn: what the wall clock shows, and the time inside the process, which nobody can set.
//!
//! Whatever waits, waits for a time inside: it is not moved when the wall clock is set. Times on disk, and those that are shown, are
//! of the wall clock. Both are a [`Timestamp`]; those of the wall clock say so by their names.

use spool_core::Timestamp;

/// When a turn takes place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// What the wall clock shows.
    pub(crate) wall: Timestamp,
    /// The time inside: it begins with what the wall clock showed, and only goes on.
    pub(crate) inside: Timestamp,
}

/// The end of time: never.
pub(crate) const NEVER: Timestamp = Timestamp(i64::MAX);

impl Now {
    /// The time inside at which the wall clock will show `wall`, if nobody sets it.
    pub(crate) const fn inside_of(self, wall: Timestamp) -> Timestamp {
        if wall.0 == NEVER.0 {
            return NEVER;
        }
        Timestamp(wall.0.saturating_sub(self.wall.0).saturating_add(self.inside.0))
    }

    /// What the wall clock will show at the time `inside`, if nobody sets it.
    pub(crate) const fn wall_of(self, inside: Timestamp) -> Timestamp {
        if inside.0 == NEVER.0 {
            return NEVER;
        }
        Timestamp(inside.0.saturating_sub(self.inside.0).saturating_add(self.wall.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_as_long_whatever_the_wall_clock_shows() {
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
