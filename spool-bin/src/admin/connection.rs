//! One connection of the admin API: its deadlines, and which connection is closed when there are too many.
//!
//! The connection of a peer that does not finish the head of a request, does not read its answer, or sends on after it was
//! refused, is closed. This layer never decides about a request; the middleware reports when one begins and ends.

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
/// How long a peer may leave an answer unread in all, beside what it needs at [`LEAST_RATE`].
const WRITE_ALLOWANCE: Duration = Duration::from_secs(30);
/// Bytes a second below which a peer is too slow, in both directions.
pub(super) const LEAST_RATE: u64 = 32 * 1024;

/// The time for `bytes` at [`LEAST_RATE`].
pub(super) fn slowest(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / LEAST_RATE)
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the head of a request, since then.
    Head(Instant),
    /// A request is being answered.
    Busy,
}

/// How fast a peer reads an answer. Only time in which writing waits for the peer counts.
#[derive(Debug, Default)]
struct WriteTiming {
    sent: u64,
    waited: Duration,
    waits_since: Option<Instant>,
}

impl WriteTiming {
    fn took(&mut self, bytes: u64, now: Instant) {
        self.sent += bytes;
        if let Some(since) = self.waits_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The peer reads nothing now; returns the deadline.
    fn blocked(&mut self, now: Instant) -> Instant {
        let since = *self.waits_since.get_or_insert(now);
        let left = (WRITE_ALLOWANCE + slowest(self.sent)).saturating_sub(self.waited);
        since + left
    }
}

#[derive(Debug)]
struct ConnectionState {
    phase: Phase,
    timing: WriteTiming,
    /// The answer is an endless stream: bytes read long ago do not count.
    endless: bool,
    /// Something was written that the peer has not read yet.
    unflushed: bool,
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
            reads_until: None,
            given_up: false,
            waker: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    pub(super) fn begins(&self) {
        let mut state = self.state();
        state.phase = Phase::Busy;
        state.timing = WriteTiming::default();
        state.endless = false;
    }

    /// The answer is an endless stream.
    pub(super) fn is_endless(&self) {
        self.state().endless = true;
    }

    /// The answer was handed over, or dropped.
    pub(super) fn ends(&self) {
        self.state().phase = Phase::Head(Instant::now());
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
            Phase::Busy => None,
        }
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
        })
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
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
        let (given_up, head, reads_until) = {
            let mut state = this.connection.state();
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            let head = match state.phase {
                Phase::Head(since) if !state.unflushed => Some(since),
                Phase::Head(_) | Phase::Busy => None,
            };
            (state.given_up, head, state.reads_until)
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
        Pin::new(&mut this.io).poll_read(cx, buf)
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
        {
            // Everything has been handed over.
            let mut state = this.connection.state();
            if state.endless {
                state.timing = WriteTiming::default();
            }
            if std::mem::take(&mut state.unflushed) && matches!(state.phase, Phase::Head(_)) {
                state.phase = Phase::Head(Instant::now());
            }
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
