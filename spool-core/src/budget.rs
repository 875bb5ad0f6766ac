//! The memory budget: how many bytes of mail are held, against one limit, and who waits for memory.
//!
//! Every byte of mail is charged where it is held, by its real size, and released when its [`Held`] is dropped. A body
//! carries its charge ([`Held::carried_by`]), so that it is charged until its last holder is dropped.
//!
//! Incoming and outgoing mail takes what is free, and is refused beyond the limit ([`Budget::hold`]). Mail that is read
//! from disk to be sent waits in order ([`Budget::wait`]). The index of queued messages ([`Budget::set_standing`]) takes up to
//! three quarters of the limit, beyond which no mail is accepted. Of what it leaves, mail that is read takes up to half,
//! within which new mail cannot overtake the first in line, and listings take up to a quarter ([`Budget::look`]).
//!
//! It uses no clock and no runtime: the caller bounds the wait, and a dropped wait has ended.

mod books;

use books::{Books, Purpose, Waiter};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A limit on bytes held, shared between threads.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Mutex<Books>>);

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    purpose: Purpose,
    bytes: u64,
}

/// A position in the line for memory. It resolves to the [`Held`] once there is room; when dropped, it leaves the line.
#[derive(Debug)]
#[must_use = "nothing is held before it was awaited"]
pub struct Waiting {
    budget: Budget,
    ticket: u64,
    bytes: u64,
    over: bool,
}

impl Budget {
    /// `limit` in bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let books = Books {
            limit,
            ..Books::default()
        };
        Self(Arc::new(Mutex::new(books)))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, purpose: Purpose, bytes: u64) -> Held {
        Held {
            budget: self.clone(),
            purpose,
            bytes,
        }
    }

    fn try_hold(&self, purpose: Purpose, bytes: u64) -> Option<Held> {
        let mut books = self.books();
        if !books.fits(purpose, bytes) {
            return None;
        }
        books.take(purpose, bytes);
        drop(books);
        Some(self.held(purpose, bytes))
    }

    /// Takes `bytes` for mail, if they fit and are not reserved for a waiter.
    #[must_use]
    pub fn hold(&self, bytes: u64) -> Option<Held> {
        self.try_hold(Purpose::Mail, bytes)
    }

    /// Nothing yet, for mail: to grow, or to be set to its real size.
    #[must_use]
    pub fn hold_nothing(&self) -> Held {
        self.held(Purpose::Mail, 0)
    }

    /// As [`Budget::hold`], and beyond the limit when nothing else is held: a single message must always fit.
    #[must_use]
    pub fn hold_first(&self, bytes: u64) -> Option<Held> {
        let mut held = self.hold_nothing();
        held.grow(bytes).then_some(held)
    }

    /// Takes `bytes` for a listing: up to a quarter of the room for all listings, or one alone.
    #[must_use]
    pub fn look(&self, bytes: u64) -> Option<Held> {
        self.try_hold(Purpose::Looking, bytes)
    }

    /// Waits in line for `bytes`, for mail that is read from disk. A request larger than the limit is granted when
    /// nothing else is held. Released memory wakes the first in line.
    pub fn wait(&self, bytes: u64) -> Waiting {
        let mut books = self.books();
        let ticket = books.next_ticket;
        books.next_ticket += 1;
        books.waiting.insert(ticket, Waiter { bytes, waker: None });
        self.serve(books);
        Waiting {
            budget: self.clone(),
            ticket,
            bytes,
            over: false,
        }
    }

    /// As [`Budget::wait`] when there is room at once; otherwise `None`, without a position in line.
    #[must_use]
    pub fn read_now(&self, bytes: u64) -> Option<Held> {
        let mut waiting = self.wait(bytes);
        if !self.books().granted.remove(&waiting.ticket) {
            return None;
        }
        waiting.over = true;
        Some(self.held(Purpose::Reading, bytes))
    }

    /// Sets the size of the index of queued messages.
    pub fn set_standing(&self, bytes: u64) {
        let mut books = self.books();
        let shrinks = bytes < books.standing;
        books.standing = bytes;
        if shrinks {
            self.serve(books);
        }
    }

    /// Whether the index may grow: it takes at most three quarters of the limit.
    #[must_use]
    pub fn may_stand(&self) -> bool {
        let books = self.books();
        books.standing <= books.limit - books.limit / 4
    }

    /// Whether `bytes` of mail would fit now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.books().fits(Purpose::Mail, bytes)
    }

    /// Whether half of the room is taken, or someone waits: caches should be dropped.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let books = self.books();
        books.used > books.room() / 2 || !books.waiting.is_empty()
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.books().limit
    }

    /// Bytes held, including the index of queued messages.
    #[must_use]
    pub fn used(&self) -> u64 {
        let books = self.books();
        books.used.saturating_add(books.standing)
    }

    fn give(&self, purpose: Purpose, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut books = self.books();
        books.give(purpose, bytes);
        if !books.waiting.is_empty() {
            self.serve(books);
        }
    }

    /// Grants memory to the line, and wakes whom it was granted to.
    fn serve(&self, mut books: MutexGuard<'_, Books>) {
        let woken = books.serve();
        drop(books);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Held {
    /// How many bytes it holds.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `more` bytes, if they fit or nothing else is held; otherwise nothing changes.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let mut books = self.budget.books();
        let alone = books.used == self.bytes && books.waiting.is_empty();
        if !alone && !books.fits(self.purpose, more) {
            return false;
        }
        books.take(self.purpose, more);
        drop(books);
        self.bytes = self.bytes.saturating_add(more);
        true
    }

    /// Changes the held bytes to exactly `bytes`, when the real size is known. May exceed the limit.
    pub fn resize(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.budget.books().take(self.purpose, bytes - self.bytes);
        } else {
            self.budget.give(self.purpose, self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Splits off up to `bytes`.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.held(self.purpose, bytes)
    }

    /// `bytes` with this charge attached: it is released when the last clone or slice of them is dropped.
    #[must_use]
    pub fn carried_by(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Carried { bytes, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give(self.purpose, self.bytes);
    }
}

struct Carried {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Carried {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Future for Waiting {
    type Output = Held;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Held> {
        let this = &mut *self;
        let mut books = this.budget.books();
        if books.granted.remove(&this.ticket) {
            drop(books);
            this.over = true;
            return Poll::Ready(this.budget.held(Purpose::Reading, this.bytes));
        }
        if let Some(waiter) = books.waiting.get_mut(&this.ticket) {
            match &mut waiter.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    /// The next in line may have room now.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut books = self.budget.books();
        if books.granted.remove(&self.ticket) {
            books.give(Purpose::Reading, self.bytes);
        }
        books.waiting.remove(&self.ticket);
        self.budget.serve(books);
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
