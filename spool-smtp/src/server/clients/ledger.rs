//! The recent activity of each client and user, and the decisions of the limits. A pure machine: time is an argument.
//!
//! Addresses and users have separate bounded [tables](super::table). A client with an open connection is never
//! forgotten; one that is limited, failed to log in or has logged in is forgotten after all others.

use super::entry::{ClientEntry, FORGIVEN_AFTER};
use super::table::ClientTable;
use super::window::Window;
use super::{ClientKey, ClientState, Count, Kind, Limited, Limits, NO_LIMIT_SPAN};
use crate::server::auth::Tag;
use spool_core::{Rate, Timestamp, millis};
use std::time::Duration;

/// For how long a client that has logged in comes before unknown ones.
const KNOWN_FOR: Duration = Duration::from_secs(86_400);

/// The ledger; see the module.
#[derive(Debug)]
pub(in crate::server) struct ClientLedger {
    limits: Limits,
    addresses: ClientTable,
    users: ClientTable,
}

impl ClientLedger {
    /// A ledger for at most `addresses` and `users`.
    pub(super) fn new(limits: Limits, addresses: usize, users: usize) -> Self {
        Self {
            limits,
            addresses: ClientTable::new(addresses),
            users: ClientTable::new(users),
        }
    }

    /// Changes the limits. Counts are kept unless their span has changed.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        let old = std::mem::replace(&mut self.limits, limits);
        let mut keys = Vec::new();
        for (key, entry) in self.addresses.iter_mut().chain(self.users.iter_mut()) {
            for kind in Kind::ALL {
                if span(old.of(key, kind)) != span(limits.of(key, kind))
                    && let Some(window) = entry.window(kind)
                {
                    *window = Window::default();
                }
            }
            keys.push((entry.position, key.clone()));
        }
        // In the order of their last use, which is kept.
        keys.sort_by_key(|(position, _)| *position);
        for (_, key) in keys {
            self.settle(&key);
        }
    }

    const fn table(&self, key: &ClientKey) -> &ClientTable {
        match key {
            ClientKey::Address(_) | ClientKey::Local(_) => &self.addresses,
            ClientKey::User(_) => &self.users,
        }
    }

    const fn table_mut(&mut self, key: &ClientKey) -> &mut ClientTable {
        match key {
            ClientKey::Address(_) | ClientKey::Local(_) => &mut self.addresses,
            ClientKey::User(_) => &mut self.users,
        }
    }

    /// Changes the entry of `key`, used `now`. Evicts another entry if the table is full.
    fn change(&mut self, key: &ClientKey, now: Duration, change: impl FnOnce(&mut ClientEntry)) {
        change(self.table_mut(key).entry(key, now));
        self.settle(key);
    }

    /// Changes the entry of `key`, if there is one; returns whether there is.
    fn change_known(&mut self, key: &ClientKey, change: impl FnOnce(&mut ClientEntry)) -> bool {
        let entry = self.table_mut(key).get_mut(key);
        let is_known = entry.map(change).is_some();
        self.settle(key);
        is_known
    }

    /// Updates the position of `key` after a change.
    fn settle(&mut self, key: &ClientKey) {
        let until = self
            .table(key)
            .get(key)
            .map(|entry| self.matters_until(key, entry));
        if let Some(until) = until {
            self.table_mut(key).settle(key, until);
        }
    }

    /// Until when `entry` is kept longer than others: the end of its limits, failures and success.
    /// Zero: it is not.
    fn matters_until(&self, key: &ClientKey, entry: &ClientEntry) -> Duration {
        let (logins, now) = (&entry.logins, entry.seen);
        let failed = match logins.failures {
            0 => Duration::ZERO,
            _ => logins.failed_at + FORGIVEN_AFTER,
        };
        let limited = Kind::ALL.map(|kind| now + self.wait_of(key, entry, kind, now));
        let until = limited
            .into_iter()
            .fold(failed.max(logins.known_until), Duration::max);
        if until > now { until } else { Duration::ZERO }
    }

    /// How long `key` has to wait before one more of `kind`; nothing is counted.
    pub(super) fn wait(&self, key: &ClientKey, kind: Kind, now: Duration) -> Duration {
        let entry = self.table(key).get(key);
        entry.map_or(Duration::ZERO, |entry| self.wait_of(key, entry, kind, now))
    }

    /// The same for `key` with this entry.
    fn wait_of(&self, key: &ClientKey, entry: &ClientEntry, kind: Kind, now: Duration) -> Duration {
        let Some(rate) = self.limits.of(key, kind) else {
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

    /// Counts one more of `kind`, regardless of the limit.
    pub(in crate::server) fn count(&mut self, key: &ClientKey, kind: Kind, now: Duration) {
        let span = span(self.limits.of(key, kind));
        self.change(key, now, |entry| {
            if let Some(window) = entry.window(kind) {
                window.add(now, span);
            }
        });
    }

    /// Takes back the last count.
    pub(in crate::server) fn give_back(&mut self, key: &ClientKey, kind: Kind) {
        self.change_known(key, |entry| {
            if let Some(window) = entry.window(kind) {
                window.take_back();
            }
        });
    }

    /// A connection of `key` is open.
    pub(super) fn opened(&mut self, key: &ClientKey, now: Duration) {
        self.change(key, now, |entry| entry.connections += 1);
    }

    /// One of them has ended.
    pub(super) fn closed(&mut self, key: &ClientKey, now: Duration) {
        self.change_known(key, |entry| {
            entry.connections = entry.connections.saturating_sub(1);
            entry.seen = now;
        });
    }

    /// How long the next login of `key` is delayed.
    ///
    /// # Errors
    /// How long to wait, when too many have failed.
    pub(in crate::server) fn login_delay(
        &self,
        key: &ClientKey,
        now: Duration,
    ) -> Result<Duration, Duration> {
        match self.wait(key, Kind::FailedLogins, now) {
            Duration::ZERO => {
                let entry = self.table(key).get(key);
                Ok(entry.map_or(Duration::ZERO, |entry| entry.logins.delay(now)))
            }
            wait => Err(wait),
        }
    }

    /// A login of `key` has failed. Repeated credentials are not counted and do not increase the delay: a program with
    /// an old password does not guess.
    pub(in crate::server) fn login_failed(&mut self, key: &ClientKey, credentials: Tag, now: Duration) {
        if !self.has_failed(key, &credentials) {
            self.count(key, Kind::FailedLogins, now);
        }
        self.change(key, now, |entry| {
            let logins = &mut entry.logins;
            if now >= logins.failed_at + FORGIVEN_AFTER {
                logins.failures = 0;
            }
            if logins.failures == 0 || logins.failed != Some(credentials) {
                logins.failures = logins.failures.saturating_add(1);
            }
            logins.failed_at = now;
            logins.failed = Some(credentials);
        });
    }

    /// Whether these credentials are those of `key` that failed last.
    pub(in crate::server) fn has_failed(&self, key: &ClientKey, credentials: &Tag) -> bool {
        let entry = self.table(key).get(key);
        entry.is_some_and(|entry| entry.logins.failed.as_ref() == Some(credentials))
    }

    /// A login of `key` has succeeded. Earlier failures are kept: the owner of an account may be guessing others' passwords.
    pub(in crate::server) fn logged_in(&mut self, key: &ClientKey, now: Duration) {
        self.change(key, now, |entry| entry.logins.known_until = now + KNOWN_FOR);
    }

    /// Whether `key` has logged in recently.
    pub(in crate::server) fn is_known(&self, key: &ClientKey, now: Duration) -> bool {
        let entry = self.table(key).get(key);
        entry.is_some_and(|entry| now < entry.logins.known_until)
    }

    /// Deletes the counts of `key`, and with them its limits. Returns whether there were any.
    pub(super) fn lift(&mut self, key: &ClientKey) -> bool {
        self.change_known(key, |entry| {
            entry.windows = Default::default();
            entry.logins.failures = 0;
            entry.logins.failed = None;
        })
    }

    /// The number of open connections of `key`.
    pub(super) fn connections(&self, key: &ClientKey) -> usize {
        self.table(key).get(key).map_or(0, |entry| entry.connections)
    }

    /// All clients and users with counts in their windows, or connected, on a wall clock that shows `wall`: limited ones first, then
    /// those that sent the most.
    pub(super) fn states(&self, wall: Timestamp, now: Duration) -> Vec<ClientState> {
        let all = self.addresses.iter().chain(self.users.iter());
        let states = all.map(|(key, entry)| (key, self.state(key, entry, wall, now)));
        let mut states: Vec<_> = states.filter(|(_, state)| state.is_busy()).collect();
        states.sort_by(|(key, state), (other_key, other)| {
            let ranks = state.rank().cmp(&other.rank());
            ranks.then_with(|| key.cmp(other_key))
        });
        states.into_iter().map(|(_, state)| state).collect()
    }

    fn state(&self, key: &ClientKey, entry: &ClientEntry, wall: Timestamp, now: Duration) -> ClientState {
        let count = |kind| {
            let limit = self.limits.of(key, kind);
            Count {
                count: entry
                    .windows
                    .get(kind as usize)
                    .map_or(0, |window| window.count(now, span(limit))),
                in_ms: millis(span(limit)),
                limit: limit.map(|rate| rate.messages.get()),
            }
        };
        let limited = |kind| {
            let wait = self.wait_of(key, entry, kind, now);
            let (name, rate) = self.limits.named(key, kind);
            let rate = rate.filter(|_| !wait.is_zero())?;
            Some(Limited {
                what: kind,
                until: wall.after(wait),
                reason: format!("{name}: {rate}"),
            })
        };
        let delay = entry.logins.delay(now);
        let ago = i64::try_from(millis(now.saturating_sub(entry.seen))).unwrap_or(i64::MAX);
        ClientState {
            client: key.to_string(),
            user: key.is_user(),
            connections: entry.connections,
            new_connections: count(Kind::Connections),
            messages: count(Kind::Messages),
            recipients: count(Kind::Recipients),
            failed_logins: count(Kind::FailedLogins),
            login_delayed_until: (!delay.is_zero()).then(|| wall.after(delay)),
            limited: Kind::ALL.into_iter().filter_map(limited).collect(),
            last_seen: Timestamp(wall.0.saturating_sub(ago)),
        }
    }
}

/// The span in which a kind is counted.
fn span(limit: Option<Rate>) -> Duration {
    limit.map_or(NO_LIMIT_SPAN, |rate| rate.per)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
