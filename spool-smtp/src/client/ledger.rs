//! Who has connections, who keeps idle ones, and who waits for one. It opens and closes nothing itself.
//!
//! No destination gets more than its limit, and none more than three quarters of all. A connection that becomes free goes
//! to the waiting destination that has the fewest; nobody waits while an idle session stands in his way. For one limit only a few wait,
//! for each of them is a job that others could have; the others are turned away, and it is told when there is room for one of them again.

use super::key::{Key, Scope, Want};
use super::room::Refused;
use spool_core::TellRoom;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

/// How many may wait for a limit of so many connections: what becomes free is used at once, and nearly all jobs at a busy host have one.
pub(super) const fn waiting_places(limit: usize) -> usize {
    1 + limit / 4
}

/// The right to have one connection open. It comes back when it is dropped.
pub(super) struct Permit<S> {
    ledger: Weak<Ledger<S>>,
    key: Key,
}

impl<S> Drop for Permit<S> {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.upgrade() {
            ledger.release(&self.key);
        }
    }
}

/// What whoever asked for a session gets.
pub(super) enum Turn<S> {
    /// An idle one.
    Cached(S),
    /// The right to open one.
    Open(Permit<S>),
}

/// An answer at once, or later.
pub(super) enum Answer<S> {
    Now(Turn<S>),
    Later(oneshot::Receiver<Turn<S>>),
    /// None: enough wait for the same limit.
    TooMany,
}

/// The sessions of one key.
struct Line<S> {
    /// The oldest first, each with the number of its parking.
    idle: Vec<(u64, S)>,
    open: usize,
    limit: usize,
    opened: u64,
    reused: u64,
    note: Option<String>,
}

struct Waiting<S> {
    want: Want,
    fresh: bool,
    turn: oneshot::Sender<Turn<S>>,
}

struct Books<S> {
    open: usize,
    scopes: HashMap<Scope, usize>,
    lines: HashMap<Key, Line<S>>,
    /// In the order of their coming.
    waiting: Vec<Waiting<S>>,
    /// Those that were turned away.
    refused: Refused,
    parked: u64,
    sweeping: bool,
}

/// What is open for one key, as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) key: Key,
    pub(super) limit: usize,
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) waiting: usize,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) note: Option<String>,
}

/// The books of one agent. `S` is a session; it holds its [`Permit`].
pub(super) struct Ledger<S> {
    total: usize,
    books: Mutex<Books<S>>,
    /// Who is told of room for those that were turned away.
    listeners: Mutex<Vec<TellRoom>>,
}

impl<S> Ledger<S> {
    /// For at most `total` connections.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total: total.max(1),
            books: Mutex::new(Books {
                open: 0,
                scopes: HashMap::new(),
                lines: HashMap::new(),
                waiting: Vec::new(),
                refused: Refused::default(),
                parked: 0,
                sweeping: false,
            }),
            listeners: Mutex::default(),
        })
    }

    /// From now on `tell` is told of room for those that were turned away.
    pub(super) fn on_room(&self, tell: TellRoom) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tell);
    }

    /// Tells of room in these limits. Never while the books are locked.
    fn tell_room(&self, scopes: &[Scope]) {
        for scope in scopes {
            let Some(hop) = self.lock().refused.take(scope) else {
                continue;
            };
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.retain(|tell| tell(&hop));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books<S>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session or the right to open one. With `fresh` no idle one: those that there are have ended, one after the other,
    /// and are closed. Of several idle ones, one that is `preferred`.
    pub(super) fn ask(
        self: &Arc<Self>,
        want: Want,
        fresh: bool,
        preferred: impl Fn(&S) -> bool,
    ) -> Answer<S> {
        if fresh {
            let ended = self
                .lock()
                .lines
                .get_mut(&want.key)
                .map(|line| std::mem::take(&mut line.idle));
            // Outside the lock: each gives its permit back.
            drop(ended);
        }
        let mut books = self.lock();
        if let Some(session) = books.reuse(&want.key, preferred) {
            return Answer::Now(Turn::Cached(session));
        }
        if self.has_room(&books, &want) {
            return Answer::Now(Turn::Open(self.grant(&mut books, &want)));
        }
        books.waiting.retain(|waiting| !waiting.turn.is_closed());
        let scope = want.key.scope();
        let others = books
            .waiting
            .iter()
            .filter(|other| other.want.key.scope() == scope);
        if others.count() >= waiting_places(want.limit.min(self.share())) {
            books.refused.add(scope, &want.key.hop);
            return Answer::TooMany;
        }
        let in_the_way = books.take_in_the_way(&want, self.share());
        let (turn, later) = oneshot::channel();
        books.waiting.push(Waiting { want, fresh, turn });
        drop(books);
        // Its permit goes to whoever is next.
        drop(in_the_way);
        Answer::Later(later)
    }

    /// Takes a session that is done with one message. It goes to somebody who waits, or is kept. Whether the idle ones need
    /// to be looked after from now on.
    pub(super) fn park(&self, key: &Key, session: S) -> bool {
        let unswept = self.pass_on(key, session);
        // A session is idle, or one fewer waits for it.
        self.tell_room(&[key.scope()]);
        unswept
    }

    fn pass_on(&self, key: &Key, mut session: S) -> bool {
        loop {
            let mut books = self.lock();
            let Some(place) = self.next(&books, Some(key)) else {
                books.parked += 1;
                let number = books.parked;
                if let Some(line) = books.lines.get_mut(key) {
                    line.idle.push((number, session));
                }
                return !std::mem::replace(&mut books.sweeping, true);
            };
            let next = books.waiting.remove(place);
            if next.fresh || next.want.key != *key {
                // He can use the connection's place, not the connection.
                books.waiting.insert(place, next);
                drop(books);
                drop(session);
                return false;
            }
            match next.turn.send(Turn::Cached(session)) {
                Ok(()) => {
                    books.count_reuse(key);
                    return false;
                }
                Err(Turn::Cached(back)) => session = back,
                Err(Turn::Open(_)) => return false,
            }
        }
    }

    /// Keeps `note` beside the sessions of `key`.
    pub(super) fn note(&self, key: &Key, note: Option<String>) {
        if let Some(line) = self.lock().lines.get_mut(key) {
            line.note = note;
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

    /// Whoever looked after the idle sessions does so no more: the next one that is parked says so.
    pub(super) fn leave_unswept(&self) {
        self.lock().sweeping = false;
    }

    /// How many are open in all, and what for.
    pub(super) fn counts(&self) -> (usize, Vec<Count>) {
        let books = self.lock();
        let counts = books.lines.iter().map(|(key, line)| Count {
            key: key.clone(),
            limit: line.limit.min(self.share()),
            open: line.open,
            idle: line.idle.len(),
            waiting: books
                .waiting
                .iter()
                .filter(|waiting| waiting.want.key == *key && !waiting.turn.is_closed())
                .count(),
            opened: line.opened,
            reused: line.reused,
            note: line.note.clone(),
        });
        (books.open, counts.collect())
    }

    /// The most that one destination may have.
    fn share(&self) -> usize {
        (self.total - self.total / 4).max(1)
    }

    fn has_room(&self, books: &Books<S>, want: &Want) -> bool {
        books.open < self.total && books.open_in(&want.key.scope()) < want.limit.min(self.share())
    }

    fn grant(self: &Arc<Self>, books: &mut Books<S>, want: &Want) -> Permit<S> {
        books.open += 1;
        *books.scopes.entry(want.key.scope()).or_default() += 1;
        let line = books.lines.entry(want.key.clone()).or_insert_with(|| Line {
            idle: Vec::new(),
            open: 0,
            limit: want.limit,
            opened: 0,
            reused: 0,
            note: None,
        });
        line.open += 1;
        line.opened += 1;
        line.limit = want.limit;
        Permit {
            ledger: Arc::downgrade(self),
            key: want.key.clone(),
        }
    }

    fn release(self: &Arc<Self>, key: &Key) {
        let mut room = vec![key.scope()];
        let mut books = self.lock();
        books.forget(key);
        while let Some(place) = self.next(&books, None) {
            let waiting = books.waiting.remove(place);
            let permit = self.grant(&mut books, &waiting.want);
            room.push(waiting.want.key.scope());
            if let Err(Turn::Open(mut permit)) = waiting.turn.send(Turn::Open(permit)) {
                // Nobody waits any more. Not by dropping it: the lock is held.
                permit.ledger = Weak::new();
                books.forget(&waiting.want.key);
            }
        }
        drop(books);
        room.dedup();
        self.tell_room(&room);
    }

    /// Who is next, now that there is room; or, with `freed`, once the connection of that key was given up.
    fn next(&self, books: &Books<S>, freed: Option<&Key>) -> Option<usize> {
        let freed_scope = freed.map(Key::scope);
        let total = books.open - usize::from(freed.is_some());
        if total >= self.total {
            return None;
        }
        let open_in = |scope: &Scope| {
            let open = books.open_in(scope);
            open.saturating_sub(usize::from(freed_scope.as_ref() == Some(scope)))
        };
        let eager = books.waiting.iter().enumerate().filter_map(|(place, waiting)| {
            let open = open_in(&waiting.want.key.scope());
            let has_room = open < waiting.want.limit.min(self.share());
            (has_room && !waiting.turn.is_closed()).then_some((open, place))
        });
        // The first of those whose destinations have the fewest.
        eager.min().map(|(_, place)| place)
    }
}

impl<S> Books<S> {
    fn open_in(&self, scope: &Scope) -> usize {
        self.scopes.get(scope).copied().unwrap_or_default()
    }

    fn reuse(&mut self, key: &Key, preferred: impl Fn(&S) -> bool) -> Option<S> {
        let line = self.lines.get_mut(key)?;
        let place = line
            .idle
            .iter()
            .rposition(|(_, session)| preferred(session))
            .or(line.idle.len().checked_sub(1))?;
        line.reused += 1;
        Some(line.idle.remove(place).1)
    }

    fn count_reuse(&mut self, key: &Key) {
        if let Some(line) = self.lines.get_mut(key) {
            line.reused += 1;
        }
    }

    /// The session that has been idle longest among those whose place `want` could have.
    fn take_in_the_way(&mut self, want: &Want, share: usize) -> Option<S> {
        let scope = want.key.scope();
        let own = self.open_in(&scope) >= want.limit.min(share);
        let idle = self
            .lines
            .iter_mut()
            .filter(|(key, line)| !line.idle.is_empty() && (!own || key.scope() == scope));
        let (_, line) = idle.min_by_key(|(_, line)| line.idle.first().map(|(number, _)| *number))?;
        Some(line.idle.remove(0).1)
    }

    fn forget(&mut self, key: &Key) {
        self.open -= 1;
        let scope = key.scope();
        if let Some(open) = self.scopes.get_mut(&scope) {
            *open -= 1;
            if *open == 0 {
                self.scopes.remove(&scope);
            }
        }
        if let Some(line) = self.lines.get_mut(key) {
            line.open -= 1;
            if line.open == 0 {
                self.lines.remove(key);
            }
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
