//! What each client and each user did lately, and what the limits say to it. A pure machine: time is an argument.
//!
//! The table is bounded. When it is full, the entry that has been idle for longest gives way; a client with an open
//! connection is never forgotten.

use super::window::Window;
use super::{ClientKey, Kind, Limits, NO_LIMIT_SPAN};
use crate::server::auth::Tag;
use spool_core::Rate;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// After so long without a failed login, earlier ones no longer delay the next.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// The longest delay that failed logins bring.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// For how long a client that has logged in is served before strangers.
const KNOWN_FOR: Duration = Duration::from_secs(86_400);

/// The failed logins of a client.
#[derive(Debug, Clone, Copy, Default)]
struct Logins {
    /// In a row, none longer ago than [`FORGIVEN_AFTER`] after the one before.
    failures: u32,
    failed_at: Duration,
    /// The credentials that failed last.
    failed: Option<Tag>,
    known_until: Duration,
}

impl Logins {
    /// When the next login may be checked.
    fn not_before(&self, now: Duration) -> Duration {
        if self.failures == 0 || now >= self.failed_at + FORGIVEN_AFTER {
            return Duration::ZERO;
        }
        let doubled = 1_u64.checked_shl(self.failures - 1).unwrap_or(u64::MAX);
        self.failed_at + Duration::from_secs(doubled).min(LONGEST_DELAY)
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// Its place among the idle ones; unused while a connection is open.
    stamp: u64,
    seen: Duration,
    connections: usize,
    windows: [Window; Kind::ALL.len()],
    logins: Logins,
}

impl Entry {
    fn window(&mut self, kind: Kind) -> Option<&mut Window> {
        self.windows.get_mut(kind as usize)
    }
}

/// The counts and limits of one kind, as they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) kind: Kind,
    pub(super) count: u64,
    pub(super) span: Duration,
    pub(super) limit: Option<Rate>,
    /// How long the limit lasts; zero: nothing is limited.
    pub(super) wait: Duration,
}

/// What is known of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: ClientKey,
    pub(super) connections: usize,
    pub(super) seen: Duration,
    pub(super) tallies: [Tally; Kind::ALL.len()],
    /// How long the next login is delayed.
    pub(super) delay: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    capacity: usize,
    entries: HashMap<ClientKey, Entry>,
    /// Those without an open connection, by when they were last seen.
    idle: BTreeMap<u64, ClientKey>,
    next_stamp: u64,
}

impl Ledger {
    pub(super) fn new(limits: Limits, capacity: usize) -> Self {
        Self {
            limits,
            capacity,
            entries: HashMap::new(),
            idle: BTreeMap::new(),
            next_stamp: 0,
        }
    }

    /// Changes the limits. What was counted stays, unless the span in which it is counted has changed.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        for (key, entry) in &mut self.entries {
            for kind in Kind::ALL {
                if span(self.limits.of(key, kind)) != span(limits.of(key, kind))
                    && let Some(window) = entry.window(kind)
                {
                    *window = Window::default();
                }
            }
        }
        self.limits = limits;
    }

    /// The entry of `key`, seen `now`. Another gives way if there is no room.
    fn entry(&mut self, key: &ClientKey, now: Duration) -> &mut Entry {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let known = self
            .entries
            .get(key)
            .map(|entry| (entry.stamp, entry.connections));
        match known {
            Some((before, 0)) => {
                self.idle.remove(&before);
                self.idle.insert(stamp, key.clone());
            }
            Some(_) => {}
            None => {
                if self.entries.len() >= self.capacity
                    && let Some((_, oldest)) = self.idle.pop_first()
                {
                    self.entries.remove(&oldest);
                }
                self.idle.insert(stamp, key.clone());
            }
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.stamp = stamp;
        entry.seen = now;
        entry
    }

    /// How long `key` has to wait before one more of `kind`; nothing is counted.
    pub(super) fn wait(&self, key: &ClientKey, kind: Kind, now: Duration) -> Duration {
        let (Some(rate), Some(entry)) = (self.limits.of(key, kind), self.entries.get(key)) else {
            return Duration::ZERO;
        };
        let window = entry.windows.get(kind as usize).copied().unwrap_or_default();
        window.wait(now, rate.per, u64::from(rate.messages.get()))
    }

    /// Counts one more of `kind`.
    ///
    /// # Errors
    /// How long to wait, when the limit is reached; then nothing is counted.
    pub(super) fn take(&mut self, key: &ClientKey, kind: Kind, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(key, kind, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.count(key, kind, now);
        Ok(())
    }

    /// Counts one more of `kind`, whatever the limit.
    pub(super) fn count(&mut self, key: &ClientKey, kind: Kind, now: Duration) {
        let span = span(self.limits.of(key, kind));
        if let Some(window) = self.entry(key, now).window(kind) {
            window.add(now, span);
        }
    }

    /// What was counted last did not happen.
    pub(super) fn give_back(&mut self, key: &ClientKey, kind: Kind) {
        if let Some(window) = self.entries.get_mut(key).and_then(|entry| entry.window(kind)) {
            window.take_back();
        }
    }

    /// A connection of `key` is open.
    pub(super) fn opened(&mut self, key: &ClientKey, now: Duration) {
        let entry = self.entry(key, now);
        entry.connections += 1;
        let stamp = entry.stamp;
        self.idle.remove(&stamp);
    }

    /// One of them has ended.
    pub(super) fn closed(&mut self, key: &ClientKey, now: Duration) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        entry.seen = now;
        if entry.connections == 0 {
            entry.stamp = self.next_stamp;
            self.next_stamp += 1;
            self.idle.insert(entry.stamp, key.clone());
        }
    }

    /// How long the next login of `key` is delayed.
    ///
    /// # Errors
    /// How long to wait, when too many have failed.
    pub(super) fn login_delay(&self, key: &ClientKey, now: Duration) -> Result<Duration, Duration> {
        match self.wait(key, Kind::FailedLogins, now) {
            Duration::ZERO => Ok(self.delay(key, now)),
            wait => Err(wait),
        }
    }

    fn delay(&self, key: &ClientKey, now: Duration) -> Duration {
        let entry = self.entries.get(key);
        entry.map_or(Duration::ZERO, |entry| {
            entry.logins.not_before(now).saturating_sub(now)
        })
    }

    /// A login of `key` has failed. The same credentials once more make no delay longer: a program that knows an old
    /// password does not guess.
    pub(super) fn login_failed(&mut self, key: &ClientKey, credentials: Tag, now: Duration) {
        self.count(key, Kind::FailedLogins, now);
        let logins = &mut self.entry(key, now).logins;
        if now >= logins.failed_at + FORGIVEN_AFTER {
            logins.failures = 0;
        }
        if logins.failures == 0 || logins.failed != Some(credentials) {
            logins.failures = logins.failures.saturating_add(1);
        }
        logins.failed_at = now;
        logins.failed = Some(credentials);
    }

    /// Whether these credentials are those of `key` that failed last.
    pub(super) fn has_failed(&self, key: &ClientKey, credentials: &Tag) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.logins.failed.as_ref() == Some(credentials))
    }

    /// A login of `key` has succeeded. Failures before it are not forgotten: who has an account may be guessing others'.
    pub(super) fn logged_in(&mut self, key: &ClientKey, now: Duration) {
        self.entry(key, now).logins.known_until = now + KNOWN_FOR;
    }

    /// Whether `key` has logged in lately.
    pub(super) fn is_known(&self, key: &ClientKey, now: Duration) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| now < entry.logins.known_until)
    }

    /// Forgets what `key` did, and with it what limits it. Gives whether there was anything.
    pub(super) fn lift(&mut self, key: &ClientKey) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.windows = Default::default();
        entry.logins.failures = 0;
        entry.logins.failed = None;
        true
    }

    /// Everyone who did something in the windows, or is connected.
    pub(super) fn lines(&self, now: Duration) -> Vec<Line> {
        let line = |(key, entry): (&ClientKey, &Entry)| {
            let tallies = Kind::ALL.map(|kind| {
                let limit = self.limits.of(key, kind);
                let window = entry.windows.get(kind as usize).copied().unwrap_or_default();
                Tally {
                    kind,
                    count: window.count(now, span(limit)),
                    span: span(limit),
                    limit,
                    wait: self.wait(key, kind, now),
                }
            });
            Line {
                key: key.clone(),
                connections: entry.connections,
                seen: entry.seen,
                tallies,
                delay: self.delay(key, now),
            }
        };
        let busy = |line: &Line| line.connections > 0 || line.tallies.iter().any(|tally| tally.count > 0);
        self.entries.iter().map(line).filter(busy).collect()
    }
}

/// In which time something is counted.
fn span(limit: Option<Rate>) -> Duration {
    limit.map_or(NO_LIMIT_SPAN, |rate| rate.per)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
