//! One connection of the admin API: what it does, and what may be read from it.
//!
//! The connection of a peer that does not finish the head of a request, does not read its answer, or sends on after it was
//! refused, is closed. A peer that sends many requests at once gets one answer at a time: the next request is passed on after
//! the answer before was sent. This layer never decides about a request; the middleware reports when one begins and ends.

use super::write_timing::WriteTiming;
use spool_core::{Budget, Held};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// How long the head of a request may take, from the end of the answer before it.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused peer may send on before its connection is closed, and how much of it is read and dropped.
pub(super) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
/// The most bytes of the head of a request: a path of 64 KiB, and other fields.
const MAX_HEAD: usize = 80 * 1024;
/// Larger heads are charged to the memory of those who submit mail; with what is made of them, at twice the longest.
const SMALL_HEAD: usize = 8 * 1024;
const LARGE_HEAD: u64 = 160 * 1024;

#[derive(Debug, Default)]
struct ConnectionState {
    /// Since when it has waited for the head of a request; `None`: a request is being answered.
    head_since: Option<Instant>,
    /// The request that is being answered has a body.
    takes_body: bool,
    timing: WriteTiming,
    /// The answer is an endless stream: bytes read long ago do not count.
    endless: bool,
    /// Something of an answer is not sent yet.
    unflushed: bool,
    /// Bytes that were passed on of the current head.
    head: usize,
    head_memory: Option<Held>,
    /// Why it is to be closed.
    problem: Option<(io::ErrorKind, &'static str)>,
    /// Bytes were read and not passed on.
    held_back: bool,
    /// A request waits until the answer before it is sent.
    queued: bool,
    queued_waker: Option<Waker>,
    /// After that time nothing more is read.
    reads_until: Option<Instant>,
    /// Bytes that were read of a refused peer.
    dropped: usize,
    waker: Option<Waker>,
}

/// The state of a connection that is shared with everything but its stream.
#[derive(Debug)]
pub(super) struct Connection(Mutex<ConnectionState>);

impl Connection {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(ConnectionState {
            head_since: Some(now),
            ..ConnectionState::default()
        }))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when all answers so far are sent.
    pub(super) fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.unflushed {
            return Poll::Ready(());
        }
        state.queued = true;
        state.queued_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A request begins.
    pub(super) fn begins(&self, with_body: bool) {
        let mut state = self.state();
        (state.head_since, state.takes_body) = (None, with_body);
        state.queued = false;
        state.timing = WriteTiming::default();
        state.endless = false;
        let reader = state.reader_to_wake();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// The answer is an endless stream.
    pub(super) fn is_endless(&self) {
        self.state().endless = true;
    }

    /// The answer was handed over, or dropped.
    pub(super) fn ends(&self) {
        let mut state = self.state();
        (state.head_since, state.takes_body) = (Some(Instant::now()), false);
        state.head = 0;
        state.head_memory = None;
        state.unflushed = true;
    }

    /// Nothing more is read from this peer.
    pub(super) fn closes(&self) {
        let mut state = self.state();
        state.reads_until.get_or_insert(Instant::now() + LINGER);
        wake(state);
    }

    /// Closes the connection immediately.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        state.problem = Some((
            io::ErrorKind::ConnectionAborted,
            "it gives way to another connection",
        ));
        wake(state);
    }

    /// Since when it has waited for the head of a request.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.state().head_since
    }
}

/// What may be passed on of the bytes that the peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// Everything: a body, or bytes that are dropped.
    All,
    /// One head.
    Head,
    /// Nothing, because a request is being answered or its answer is not sent yet.
    Nothing,
}

/// When reading ends, and how: with an error, or as if the peer had closed the connection.
pub(super) type ReadEnd = (Instant, io::Result<()>);

/// For the stream of the connection.
impl Connection {
    /// What to pass on now, and until when. `cx` is woken when that changes.
    ///
    /// # Errors
    /// When the connection is to be closed.
    pub(super) fn reading(&self, cx: &Context<'_>) -> io::Result<(Passed, Option<ReadEnd>)> {
        let mut state = self.state();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        if let Some((kind, problem)) = state.problem {
            return Err(io::Error::new(kind, problem));
        }
        state.held_back = false;
        // Also while bytes arrive: the rest of a body is no head.
        let head = state.head_since.filter(|_| !state.unflushed);
        let late = || Err(io::ErrorKind::TimedOut.into());
        let end = match state.reads_until {
            Some(until) => Some((until, Ok(()))),
            None => head.map(|since| (since + HEAD_TIMEOUT, late())),
        };
        Ok((state.passed(), end))
    }

    /// Bytes were read and may not be passed on.
    pub(super) fn holds_back(&self) {
        self.state().held_back = true;
    }

    /// Bytes were passed on that are no head.
    pub(super) fn passed_others(&self, bytes: usize) {
        let mut state = self.state();
        if state.reads_until.is_some() {
            state.dropped = state.dropped.saturating_add(bytes);
        }
    }

    /// Bytes of a head were passed on. A large one is charged to `memory`.
    pub(super) fn passed_head(&self, bytes: usize, memory: &Budget) {
        let mut state = self.state();
        state.head += bytes;
        if state.head > SMALL_HEAD && state.head_memory.is_none() {
            state.head_memory = memory.hold_first(LARGE_HEAD);
        }
        let problem = match state.head {
            bytes if bytes > MAX_HEAD => "the head of a request is too long",
            bytes if bytes > SMALL_HEAD && state.head_memory.is_none() => {
                "there is no memory for the head of a request"
            }
            _ => return,
        };
        state.problem.get_or_insert((io::ErrorKind::Other, problem));
    }

    /// The peer has taken `bytes` of an answer.
    pub(super) fn wrote(&self, bytes: usize, now: Instant) {
        let mut state = self.state();
        state.unflushed = true;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        state.timing.took(bytes, now);
    }

    /// The peer takes nothing now; returns the deadline.
    pub(super) fn write_blocked(&self, now: Instant) -> Instant {
        let mut state = self.state();
        state.unflushed = true;
        state.timing.blocked(now)
    }

    /// Everything was sent.
    pub(super) fn sent(&self) {
        let mut state = self.state();
        if state.endless {
            state.timing = WriteTiming::default();
        }
        if std::mem::take(&mut state.unflushed) && state.head_since.is_some() {
            state.head_since = Some(Instant::now());
        }
        let woken = [state.queued_waker.take(), state.reader_to_wake()];
        drop(state);
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

impl ConnectionState {
    fn passed(&self) -> Passed {
        if self.reads_until.is_some() {
            return match self.dropped < LINGER_BYTES {
                true => Passed::All,
                false => Passed::Nothing,
            };
        }
        if self.takes_body {
            return Passed::All;
        }
        match self.head_since.is_some() && !self.unflushed && !self.queued {
            true => Passed::Head,
            false => Passed::Nothing,
        }
    }

    fn reader_to_wake(&self) -> Option<Waker> {
        let waits = self.held_back && self.passed() != Passed::Nothing;
        waits.then(|| self.waker.clone()).flatten()
    }
}

fn wake(mut state: MutexGuard<'_, ConnectionState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
impl Connection {
    pub(super) const LONGEST_HEAD: usize = MAX_HEAD;
    pub(super) const UNCHARGED_HEAD: usize = SMALL_HEAD;
    pub(super) const DROPPED: usize = LINGER_BYTES;
    pub(super) const HEAD_CHARGE: u64 = LARGE_HEAD;

    pub(super) fn was_given_up(&self) -> bool {
        matches!(self.state().problem, Some((io::ErrorKind::ConnectionAborted, _)))
    }
}
