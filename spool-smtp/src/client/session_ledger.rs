//! How many connections are open, in all and by path, and which sessions are idle. It opens and closes no connection itself.
//!
//! Who may make an attempt, and when, is decided before it starts: a connection for it is then within the limits, which hold here
//! nevertheless. What may be in the way is an idle session, which is dropped, or one that is being closed, which is waited for.

use super::session_key::{SessionKey, SessionRequest};
use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The right to have one connection open. It is given back when it is dropped.
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

/// What whoever asks for a session gets.
pub(super) enum SessionGrant<S> {
    /// An idle one.
    Cached(S),
    /// The right to open one.
    Open(ConnectionPermit<S>),
}

/// The sessions of one key.
struct KeySessions<S> {
    /// The oldest first, each with the number of its parking.
    idle: Vec<(u64, S)>,
    tally: OpenCounts,
}

/// What is counted for one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OpenCounts {
    /// Of the path.
    pub(super) limit: usize,
    pub(super) open: usize,
    pub(super) waiting: usize,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) note: Option<String>,
}

struct LedgerState<S> {
    open: usize,
    paths: HashMap<Arc<[NextHop]>, usize>,
    /// Each with an open connection, or with somebody who waits for one.
    lines: HashMap<SessionKey, KeySessions<S>>,
    parked: u64,
    sweeping: bool,
}

/// What is open for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyCounts {
    pub(super) key: SessionKey,
    pub(super) idle: usize,
    pub(super) tally: OpenCounts,
}

/// The connections of one agent. `S` is a session; it holds its [`ConnectionPermit`].
pub(super) struct SessionLedger<S> {
    total: usize,
    books: Mutex<LedgerState<S>>,
    /// A connection was closed, or a session became idle.
    freed: Notify,
}

impl<S> SessionLedger<S> {
    /// For at most `total` connections.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: total.max(1),
            books: Mutex::new(LedgerState {
                open: 0,
                paths: HashMap::new(),
                lines: HashMap::new(),
                parked: 0,
                sweeping: false,
            }),
            freed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState<S>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most connections that the path of `want` may have: never more than three quarters of all.
    pub(super) fn limit(&self, want: &SessionRequest) -> usize {
        want.limit.min(self.total - self.total / 4).max(1)
    }

    /// An idle session, of several one that is `preferred`, or the right to open one. `None`: the limits had no room for one until
    /// `give_up`. With `fresh` no idle one, and those that there are are dropped: others like them have ended.
    pub(super) async fn turn(
        self: &Arc<Self>,
        want: &SessionRequest,
        fresh: bool,
        preferred: impl Fn(&S) -> bool,
        give_up: Instant,
    ) -> Option<SessionGrant<S>> {
        if fresh {
            let ended = self
                .lock()
                .lines
                .get_mut(&want.key)
                .map(|line| std::mem::take(&mut line.idle));
            // Outside the lock: each gives its permit back.
            drop(ended);
        }
        let mut waiting = None;
        loop {
            // Made before the look at the books: what is freed right after that is not missed.
            let freed = self.freed.notified();
            if let Some(turn) = self.turn_now(want, fresh, &preferred) {
                return Some(turn);
            }
            waiting.get_or_insert_with(|| WaitingAttempt::new(self, want));
            timeout_at(give_up, freed).await.ok()?;
        }
    }

    /// The same without a wait: idle sessions in the way are dropped, the longest idle first.
    fn turn_now(
        self: &Arc<Self>,
        want: &SessionRequest,
        fresh: bool,
        preferred: impl Fn(&S) -> bool,
    ) -> Option<SessionGrant<S>> {
        loop {
            let mut books = self.lock();
            if !fresh && let Some(session) = books.reuse(&want.key, &preferred) {
                return Some(SessionGrant::Cached(session));
            }
            let is_path_full = books.open_on(&want.key.path) >= self.limit(want);
            if !is_path_full && books.open < self.total {
                return Some(SessionGrant::Open(self.grant(&mut books, want)));
            }
            let in_the_way = books.take_oldest(|key| !is_path_full || key.path == want.key.path)?;
            // Outside the lock: it gives its permit back.
            drop(books);
            drop(in_the_way);
        }
    }

    /// Keeps a session that is done with one message. Whether the idle ones need to be looked after from now on.
    pub(super) fn park(&self, key: &SessionKey, session: S) -> bool {
        let mut books = self.lock();
        books.parked += 1;
        let number = books.parked;
        if let Some(line) = books.lines.get_mut(key) {
            line.idle.push((number, session));
        }
        let is_swept = std::mem::replace(&mut books.sweeping, true);
        drop(books);
        self.freed.notify_waiters();
        !is_swept
    }

    /// Keeps `note` beside the sessions of `key`.
    pub(super) fn note(&self, key: &SessionKey, note: Option<String>) {
        if let Some(line) = self.lock().lines.get_mut(key) {
            line.tally.note = note;
        }
    }

    /// Takes out the idle sessions that are `old`; and whether others are left to be looked after.
    pub(super) fn take_idle(&self, old: impl Fn(&S) -> bool) -> (Vec<S>, bool) {
        let mut books = self.lock();
        let mut taken = Vec::new();
        for line in books.lines.values_mut() {
            let expired = line.idle.extract_if(.., |(_, session)| old(session));
            taken.extend(expired.map(|(_, session)| session));
        }
        books.sweeping = books.lines.values().any(|line| !line.idle.is_empty());
        (taken, books.sweeping)
    }

    /// Nobody looks after the idle sessions any more: the next one that is parked says so.
    pub(super) fn leave_unswept(&self) {
        self.lock().sweeping = false;
    }

    /// How many are open in all, and what for.
    pub(super) fn counts(&self) -> (usize, Vec<KeyCounts>) {
        let books = self.lock();
        let counts = books.lines.iter().map(|(key, line)| KeyCounts {
            key: key.clone(),
            idle: line.idle.len(),
            tally: line.tally.clone(),
        });
        (books.open, counts.collect())
    }

    fn grant(self: &Arc<Self>, books: &mut LedgerState<S>, want: &SessionRequest) -> ConnectionPermit<S> {
        books.open += 1;
        *books.paths.entry(Arc::clone(&want.key.path)).or_default() += 1;
        books.change(&want.key, |tally| {
            tally.open += 1;
            tally.opened += 1;
            tally.limit = self.limit(want);
        });
        ConnectionPermit {
            ledger: Arc::downgrade(self),
            key: want.key.clone(),
        }
    }
}

impl<S> LedgerState<S> {
    fn open_on(&self, path: &[NextHop]) -> usize {
        self.paths.get(path).copied().unwrap_or_default()
    }

    fn reuse(&mut self, key: &SessionKey, preferred: impl Fn(&S) -> bool) -> Option<S> {
        let line = self.lines.get_mut(key)?;
        let place = line
            .idle
            .iter()
            .rposition(|(_, session)| preferred(session))
            .or(line.idle.len().checked_sub(1))?;
        line.tally.reused += 1;
        Some(line.idle.remove(place).1)
    }

    /// The session that has been idle longest among those of these keys.
    fn take_oldest(&mut self, of: impl Fn(&SessionKey) -> bool) -> Option<S> {
        let lines = self.lines.iter_mut();
        let idle = lines.filter(|(key, line)| !line.idle.is_empty() && of(key));
        let (_, line) = idle.min_by_key(|(_, line)| line.idle.first().map(|(number, _)| *number))?;
        Some(line.idle.remove(0).1)
    }

    fn release(&mut self, key: &SessionKey) {
        self.open -= 1;
        if let Some(open) = self.paths.get_mut(&key.path) {
            *open -= 1;
            if *open == 0 {
                self.paths.remove(&key.path);
            }
        }
        self.change(key, |tally| tally.open -= 1);
    }

    /// Changes what is counted for `key`, whose line is there as long as something is counted in it.
    fn change(&mut self, key: &SessionKey, change: impl FnOnce(&mut OpenCounts)) {
        let line = self.lines.entry(key.clone()).or_insert_with(|| KeySessions {
            idle: Vec::new(),
            tally: OpenCounts::default(),
        });
        change(&mut line.tally);
        if line.tally.open + line.tally.waiting == 0 {
            self.lines.remove(key);
        }
    }
}

/// Somebody waits; counted until it is dropped.
struct WaitingAttempt<'a, S> {
    ledger: &'a SessionLedger<S>,
    key: &'a SessionKey,
}

impl<'a, S> WaitingAttempt<'a, S> {
    fn new(ledger: &'a SessionLedger<S>, want: &'a SessionRequest) -> Self {
        let (key, limit) = (&want.key, ledger.limit(want));
        ledger.lock().change(key, |tally| {
            tally.waiting += 1;
            tally.limit = limit;
        });
        Self { ledger, key }
    }
}

impl<S> Drop for WaitingAttempt<'_, S> {
    fn drop(&mut self) {
        self.ledger.lock().change(self.key, |tally| tally.waiting -= 1);
    }
}

#[cfg(test)]
#[path = "session_ledger_tests.rs"]
mod tests;
