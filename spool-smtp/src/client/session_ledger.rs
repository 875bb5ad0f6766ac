//! Counts open connections, in total and by path, and holds the idle sessions. It opens and closes no connection itself.
//!
//! The spool starts an attempt only within its limits; the limits here hold in any case. When they are reached, an idle session is dropped,
//! or the attempt waits until a connection is closed.

use super::session_key::{SessionKey, SessionRequest};
use super::snapshot::{DestinationSessions, PoolSnapshot};
use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The right to have one connection open, returned when it is dropped.
pub(super) struct ConnectionPermit<S> {
    ledger: Weak<SessionLedger<S>>,
    key: SessionKey,
}

impl<S> Drop for ConnectionPermit<S> {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.upgrade() {
            ledger.lock().release(&self.key);
            ledger.freed.notify_waiters();
        }
    }
}

/// The result of a request for a session.
pub(super) enum SessionGrant<S> {
    /// An idle session.
    Cached(S),
    /// The right to open one.
    New(ConnectionPermit<S>),
}

/// The sessions of one key.
struct KeySessions<S> {
    /// The idle sessions, longest idle first, each with a number in the order of [`SessionLedger::park`].
    idle: Vec<(u64, S)>,
    /// Without the number of idle sessions.
    counts: DestinationSessions,
}

struct LedgerState<S> {
    open: usize,
    paths: HashMap<Arc<[NextHop]>, usize>,
    /// Only keys with an open connection, or an attempt that waits for one.
    keys: HashMap<SessionKey, KeySessions<S>>,
    parked: u64,
    sweeping: bool,
}

/// The connections of one agent. `S` is a session; it holds its [`ConnectionPermit`].
pub(super) struct SessionLedger<S> {
    total: usize,
    state: Mutex<LedgerState<S>>,
    /// A connection was closed, or a session became idle.
    freed: Notify,
}

impl<S> SessionLedger<S> {
    /// A ledger for at most `total` connections.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: total.max(1),
            state: Mutex::new(LedgerState {
                open: 0,
                paths: HashMap::new(),
                keys: HashMap::new(),
                parked: 0,
                sweeping: false,
            }),
            freed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most connections that the path of `request` may have: never more than three quarters of all.
    pub(super) fn limit(&self, request: &SessionRequest<'_>) -> usize {
        request.limit.min(self.total - self.total / 4).max(1)
    }

    /// An idle session, if possible one that is `preferred`, or the right to open one; `None`: the limits allowed neither until `give_up`.
    /// With `fresh`, the idle sessions of the key are dropped, because others like them have ended.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        request: &SessionRequest<'_>,
        fresh: bool,
        preferred: impl Fn(&S) -> bool,
        give_up: Instant,
    ) -> Option<SessionGrant<S>> {
        if fresh {
            let ended = self
                .lock()
                .keys
                .get_mut(&request.key)
                .map(|sessions| std::mem::take(&mut sessions.idle));
            // Outside the lock, because each returns its permit.
            drop(ended);
        }
        let mut waiting = None;
        loop {
            // Created before the check, so that a connection that is freed after it is noticed.
            let freed = self.freed.notified();
            if let Some(grant) = self.try_acquire(request, fresh, &preferred) {
                return Some(grant);
            }
            waiting.get_or_insert_with(|| WaitingAttempt::new(self, request));
            timeout_at(give_up, freed).await.ok()?;
        }
    }

    /// The same without waiting. Idle sessions are dropped to make room, the longest idle first.
    fn try_acquire(
        self: &Arc<Self>,
        request: &SessionRequest<'_>,
        fresh: bool,
        preferred: impl Fn(&S) -> bool,
    ) -> Option<SessionGrant<S>> {
        loop {
            let mut state = self.lock();
            if !fresh && let Some(session) = state.reuse(&request.key, &preferred) {
                return Some(SessionGrant::Cached(session));
            }
            let is_path_full = state.open_on(&request.key.path) >= self.limit(request);
            if !is_path_full && state.open < self.total {
                return Some(SessionGrant::New(self.grant(&mut state, request)));
            }
            let oldest = state.take_oldest(|key| !is_path_full || key.path == request.key.path)?;
            // Outside the lock, because it returns its permit.
            drop(state);
            drop(oldest);
        }
    }

    /// Keeps a session after a message. Returns whether a task that closes idle sessions must be started.
    pub(super) fn park(&self, key: &SessionKey, session: S) -> bool {
        let mut state = self.lock();
        state.parked += 1;
        let number = state.parked;
        if let Some(sessions) = state.keys.get_mut(key) {
            sessions.idle.push((number, session));
        }
        let is_swept = std::mem::replace(&mut state.sweeping, true);
        drop(state);
        self.freed.notify_waiters();
        !is_swept
    }

    /// Stores the TLS of the last session of `key` that was opened.
    pub(super) fn note_tls(&self, key: &SessionKey, tls: Option<String>) {
        if let Some(sessions) = self.lock().keys.get_mut(key) {
            sessions.counts.tls = tls;
        }
    }

    /// Removes and returns the idle sessions that are `old`, and whether other idle sessions are left.
    pub(super) fn take_idle(&self, old: impl Fn(&S) -> bool) -> (Vec<S>, bool) {
        let mut state = self.lock();
        let mut taken = Vec::new();
        for sessions in state.keys.values_mut() {
            let expired = sessions.idle.extract_if(.., |(_, session)| old(session));
            taken.extend(expired.map(|(_, session)| session));
        }
        state.sweeping = state.keys.values().any(|sessions| !sessions.idle.is_empty());
        (taken, state.sweeping)
    }

    /// The task that closes idle sessions has ended: the next [`Self::park`] asks for another one.
    pub(super) fn sweep_ended(&self) {
        self.lock().sweeping = false;
    }

    /// The current state, for display.
    pub(super) fn snapshot(&self) -> PoolSnapshot {
        let state = self.lock();
        let destinations = state.keys.values().map(|sessions| {
            let mut counts = sessions.counts.clone();
            counts.idle = sessions.idle.len();
            counts.in_use = counts.open - counts.idle;
            counts
        });
        PoolSnapshot::new(state.open, self.total, destinations)
    }

    fn grant(
        self: &Arc<Self>,
        state: &mut LedgerState<S>,
        request: &SessionRequest<'_>,
    ) -> ConnectionPermit<S> {
        state.open += 1;
        *state.paths.entry(Arc::clone(&request.key.path)).or_default() += 1;
        state.change(&request.key, |counts| {
            counts.open += 1;
            counts.opened += 1;
            counts.limit = self.limit(request);
        });
        ConnectionPermit {
            ledger: Arc::downgrade(self),
            key: request.key.clone(),
        }
    }
}

impl<S> LedgerState<S> {
    fn open_on(&self, path: &[NextHop]) -> usize {
        self.paths.get(path).copied().unwrap_or_default()
    }

    fn reuse(&mut self, key: &SessionKey, preferred: impl Fn(&S) -> bool) -> Option<S> {
        let sessions = self.keys.get_mut(key)?;
        let place = sessions
            .idle
            .iter()
            .rposition(|(_, session)| preferred(session))
            .or(sessions.idle.len().checked_sub(1))?;
        sessions.counts.reused += 1;
        Some(sessions.idle.remove(place).1)
    }

    /// Removes the session that has been idle longest among those of the keys for which `of` holds.
    fn take_oldest(&mut self, of: impl Fn(&SessionKey) -> bool) -> Option<S> {
        let keys = self.keys.iter_mut();
        let idle = keys.filter(|(key, sessions)| !sessions.idle.is_empty() && of(key));
        let (_, sessions) =
            idle.min_by_key(|(_, sessions)| sessions.idle.first().map(|(number, _)| *number))?;
        Some(sessions.idle.remove(0).1)
    }

    fn release(&mut self, key: &SessionKey) {
        self.open -= 1;
        if let Some(open) = self.paths.get_mut(&key.path) {
            *open -= 1;
            if *open == 0 {
                self.paths.remove(&key.path);
            }
        }
        self.change(key, |counts| counts.open -= 1);
    }

    /// Changes the counts of `key`, which is removed when it has neither connections nor waiting attempts.
    fn change(&mut self, key: &SessionKey, change: impl FnOnce(&mut DestinationSessions)) {
        let sessions = self.keys.entry(key.clone()).or_insert_with(|| KeySessions {
            idle: Vec::new(),
            counts: DestinationSessions::new(key),
        });
        change(&mut sessions.counts);
        if sessions.counts.open + sessions.counts.waiting == 0 {
            self.keys.remove(key);
        }
    }
}

/// An attempt that waits; counted until it is dropped.
struct WaitingAttempt<'a, S> {
    ledger: &'a SessionLedger<S>,
    key: &'a SessionKey,
}

impl<'a, S> WaitingAttempt<'a, S> {
    fn new(ledger: &'a SessionLedger<S>, request: &'a SessionRequest<'_>) -> Self {
        let (key, limit) = (&request.key, ledger.limit(request));
        ledger.lock().change(key, |counts| {
            counts.waiting += 1;
            counts.limit = limit;
        });
        Self { ledger, key }
    }
}

impl<S> Drop for WaitingAttempt<'_, S> {
    fn drop(&mut self) {
        self.ledger.lock().change(self.key, |counts| counts.waiting -= 1);
    }
}

#[cfg(test)]
#[path = "session_ledger_tests.rs"]
mod tests;
