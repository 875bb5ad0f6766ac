//! What is stored about one client or user: its counts, its logins, and its position in the table.

use super::Kind;
use super::window::Window;
use crate::server::auth::Tag;
use std::time::Duration;

/// After this time without a failed login, earlier ones no longer delay the next.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// The longest delay after failed logins.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The failed logins of a client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LoginHistory {
    /// The number of consecutive failures, each within [`FORGIVEN_AFTER`] of the previous one.
    pub(super) failures: u32,
    pub(super) failed_at: Duration,
    /// The credentials that failed last.
    pub(super) failed: Option<Tag>,
    pub(super) known_until: Duration,
}

impl LoginHistory {
    /// How long the next login is delayed.
    pub(super) fn delay(&self, now: Duration) -> Duration {
        if self.failures == 0 || now >= self.failed_at + FORGIVEN_AFTER {
            return Duration::ZERO;
        }
        let doubled = 1_u64.checked_shl(self.failures - 1).unwrap_or(u64::MAX);
        (self.failed_at + Duration::from_secs(doubled).min(LONGEST_DELAY)).saturating_sub(now)
    }
}

/// The data about a client or a user.
#[derive(Debug, Default)]
pub(super) struct ClientEntry {
    /// Not used while a connection is open.
    pub(super) position: EntryPosition,
    pub(super) seen: Duration,
    pub(super) connections: usize,
    pub(super) windows: [Window; Kind::ALL.len()],
    pub(super) logins: LoginHistory,
}

impl ClientEntry {
    pub(super) fn window(&mut self, kind: Kind) -> Option<&mut Window> {
        self.windows.get_mut(kind as usize)
    }
}

/// The position of an entry without an open connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryPosition {
    /// When it was last used, in the order of all entries.
    pub(super) stamp: u64,
    /// Until when it matters; zero: it does not.
    pub(super) until: Duration,
}
