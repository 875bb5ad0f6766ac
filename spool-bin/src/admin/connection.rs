//! One connection of the admin API: its deadlines, and which connection is closed when there are too many.
//!
//! The connection of a peer that does not finish the head of a request, does not read its answer, or sends on after it was
//! refused, is closed. A peer that sends many requests at once gets one answer at a time: the next request is passed on after
//! the answer before was sent. This layer never decides about a request; the middleware reports when one begins and ends.

use super::read_ahead::ReadAhead;
use super::write_timing::WriteTiming;
use actix_web::rt::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the head of a request may take, from the end of the answer before it.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused peer may send on before its connection is closed.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The most bytes of the head of a request: a path of 64 KiB, and other fields.
const MAX_HEAD: usize = 80 * 1024;
/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the head of a request, since then.
    Head(Instant),
    /// A request without a body is being answered.
    Busy,
    /// A request with a body is being answered.
    BusyWithBody,
}

impl Phase {
    const fn is_head(self) -> bool {
        matches!(self, Self::Head(_))
    }
}

#[derive(Debug)]
struct ConnectionState {
    phase: Phase,
    timing: WriteTiming,
    /// The answer is an endless stream: bytes read long ago do not count.
    endless: bool,
    /// Something of an answer is not sent yet.
    unflushed: bool,
    /// Bytes that were passed on of the current head.
    head: usize,
    /// Bytes were read and not passed on.
    held_back: bool,
    /// A request waits until the answer before it is sent.
    queued: bool,
    queued_waker: Option<Waker>,
    /// After that time nothing more is read.
    reads_until: Option<Instant>,
    given_up: bool,
    waker: Option<Waker>,
}

/// The shared state of a connection, for everybody but its stream.
#[derive(Debug)]
pub(super) struct Connection(Mutex<ConnectionState>);

impl Connection {
    fn new(now: Instant) -> Self {
        Self(Mutex::new(ConnectionState {
            phase: Phase::Head(now),
            timing: WriteTiming::default(),
            endless: false,
            unflushed: false,
            head: 0,
            held_back: false,
            queued: false,
            queued_waker: None,
            reads_until: None,
            given_up: false,
            waker: None,
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
        state.phase = match with_body {
            true => Phase::BusyWithBody,
            false => Phase::Busy,
        };
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
        state.phase = Phase::Head(Instant::now());
        state.head = 0;
        state.unflushed = true;
    }

    /// Nothing more is read from this peer.
    pub(super) fn closes(&self) {
        let mut state = self.state();
        state.reads_until.get_or_insert(Instant::now() + LINGER);
        wake(state);
    }

    /// Closes the connection immediately.
    fn give_up(&self) {
        let mut state = self.state();
        state.given_up = true;
        wake(state);
    }

    /// Since when it has waited for the head of a request.
    fn waits_since(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Head(since) => Some(since),
            Phase::Busy | Phase::BusyWithBody => None,
        }
    }
}

/// What may be passed on of the bytes that the peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// Everything: a body, or bytes that are dropped.
    All,
    /// One head.
    Head,
    /// Nothing, because a request is being answered or its answer is not sent yet.
    Nothing,
}

impl ConnectionState {
    fn passed(&self) -> Passed {
        if self.reads_until.is_some() || self.phase == Phase::BusyWithBody {
            return Passed::All;
        }
        match self.phase.is_head() && !self.unflushed && !self.queued {
            true => Passed::Head,
            false => Passed::Nothing,
        }
    }

    fn reader_to_wake(&self) -> Option<Waker> {
        let waits = self.held_back && self.passed() != Passed::Nothing;
        waits.then(|| self.waker.clone()).flatten()
    }

    /// Everything was sent; returns the tasks to wake.
    fn sent(&mut self) -> [Option<Waker>; 2] {
        if self.endless {
            self.timing = WriteTiming::default();
        }
        if std::mem::take(&mut self.unflushed) && self.phase.is_head() {
            self.phase = Phase::Head(Instant::now());
        }
        [self.queued_waker.take(), self.reader_to_wake()]
    }
}

fn wake(mut state: MutexGuard<'_, ConnectionState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// All connections. At the limit, the one that has waited longest for a head is closed for a new one, so that a client that
/// sends a request immediately is answered however many others only connect.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; `None` when requests are being answered on all open ones.
    fn add(&self, now: Instant) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.len() >= self.most {
            let waiting = open.iter().enumerate();
            let waiting = waiting.filter_map(|(index, connection)| Some((connection.waits_since()?, index)));
            let (_, longest) = waiting.min()?;
            open.swap_remove(longest).give_up();
        }
        let connection = Arc::new(Connection::new(now));
        open.push(Arc::clone(&connection));
        Some(connection)
    }

    fn remove(&self, connection: &Arc<Connection>) {
        self.open().retain(|other| !Arc::ptr_eq(other, connection));
    }
}

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Stream {
    io: TcpStream,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    ahead: ReadAhead,
    /// A part of a head was passed on in this turn.
    had_turn: bool,
}

impl Stream {
    /// Accepts `io`, unless there are too many connections.
    pub(super) fn accept(io: TcpStream, connections: &Arc<Connections>) -> Option<Self> {
        let now = Instant::now();
        Some(Self {
            io,
            connection: connections.add(now)?,
            connections: Arc::clone(connections),
            read_timer: Box::pin(sleep_until(now)),
            write_timer: Box::pin(sleep_until(now)),
            ahead: ReadAhead::default(),
            had_turn: false,
        })
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

impl Stream {
    /// Passes on what may be passed on, and reads when nothing is left. The end of the stream is noticed in every phase.
    fn poll_pass(
        &mut self,
        passed: Passed,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if passed == Passed::All {
            return match self.ahead.pass_all(buf) {
                0 => Pin::new(&mut self.io).poll_read(cx, buf),
                _ => Poll::Ready(Ok(())),
            };
        }
        if !ready!(self.ahead.poll_fill(&mut self.io, cx))? {
            return Poll::Ready(Ok(()));
        }
        if passed == Passed::Nothing {
            self.connection.state().held_back = true;
            return Poll::Pending;
        }
        self.had_turn = !self.had_turn;
        if !self.had_turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = self.ahead.pass_head(buf);
        self.connection.state().head += count;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connections.remove(&self.connection);
    }
}

/// Ready at `due`.
fn poll_due(timer: &mut Pin<Box<Sleep>>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if timer.deadline() != due {
        timer.as_mut().reset(due);
    }
    timer.as_mut().poll(cx)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (given_up, head, reads_until, passed) = {
            let mut state = this.connection.state();
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            let head = match state.phase {
                Phase::Head(since) if !state.unflushed => Some(since),
                Phase::Head(_) | Phase::Busy | Phase::BusyWithBody => None,
            };
            if state.head > MAX_HEAD {
                return Poll::Ready(Err(io::Error::other("the head of a request is too long")));
            }
            state.held_back = false;
            (state.given_up, head, state.reads_until, state.passed())
        };
        if given_up {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(until) = reads_until
            && poll_due(&mut this.read_timer, until, cx).is_ready()
        {
            // As if the peer had closed the connection.
            return Poll::Ready(Ok(()));
        }
        // Also while bytes arrive: the rest of a body is no head.
        if let (None, Some(since)) = (reads_until, head)
            && poll_due(&mut this.read_timer, since + HEAD_TIMEOUT, cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        this.poll_pass(passed, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        let now = Instant::now();
        let mut state = this.connection.state();
        state.unflushed = true;
        match written {
            Poll::Ready(Ok(bytes)) => {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                state.timing.took(bytes, now);
            }
            Poll::Pending => {
                let due = state.timing.blocked(now);
                drop(state);
                ready!(poll_due(&mut this.write_timer, due, cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let woken = this.connection.state().sent();
        woken.into_iter().flatten().for_each(Waker::wake);
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
