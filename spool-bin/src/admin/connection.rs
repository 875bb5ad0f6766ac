//! One connection of the admin API: how long its peer may take, and which connection gives way when there are too many.
//!
//! A peer that does not finish the head of a request, does not read its answer, or goes on sending after it was refused,
//! loses its connection. It never decides about a request; the guard tells it when one begins and ends.

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
/// How long a refused peer may go on sending until its connection is closed.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// How long a peer may leave an answer unread in all, beside what it needs at [`LEAST_RATE`].
const WRITE_ALLOWANCE: Duration = Duration::from_secs(30);
/// Bytes a second below which a peer is too slow, in both directions.
pub(super) const LEAST_RATE: u64 = 32 * 1024;

/// How long `bytes` take a peer that is just fast enough.
pub(super) fn slowest(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / LEAST_RATE)
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for the rest of a head, since then.
    Head(Instant),
    /// A request is answered.
    Busy,
}

/// How a peer takes an answer. Only the time in which it keeps us waiting counts.
#[derive(Debug, Default)]
struct Pace {
    sent: u64,
    waited: Duration,
    waits_since: Option<Instant>,
}

impl Pace {
    fn took(&mut self, bytes: u64, now: Instant) {
        self.sent += bytes;
        if let Some(since) = self.waits_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The peer takes nothing now; gives when that has gone on for too long.
    fn blocked(&mut self, now: Instant) -> Instant {
        let since = *self.waits_since.get_or_insert(now);
        let left = (WRITE_ALLOWANCE + slowest(self.sent)).saturating_sub(self.waited);
        since + left
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    pace: Pace,
    /// An answer without an end: what was taken long ago does not count.
    endless: bool,
    /// Something was written that the peer has not taken yet.
    unflushed: bool,
    /// From then on nothing more is read.
    reads_until: Option<Instant>,
    given_up: bool,
    waker: Option<Waker>,
}

/// A connection as those see it who do not read or write it.
#[derive(Debug)]
pub(super) struct Line(Mutex<State>);

impl Line {
    fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            phase: Phase::Head(now),
            pace: Pace::default(),
            endless: false,
            unflushed: false,
            reads_until: None,
            given_up: false,
            waker: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is here.
    pub(super) fn begins(&self) {
        let mut state = self.state();
        state.phase = Phase::Busy;
        state.pace = Pace::default();
        state.endless = false;
    }

    /// Its answer goes on for as long as the peer likes.
    pub(super) fn is_endless(&self) {
        self.state().endless = true;
    }

    /// Its answer is handed over, or given up.
    pub(super) fn ends(&self) {
        self.state().phase = Phase::Head(Instant::now());
    }

    /// Nothing more of this peer is wanted.
    pub(super) fn closes(&self) {
        let mut state = self.state();
        state.reads_until.get_or_insert(Instant::now() + LINGER);
        wake(state);
    }

    /// Ends it at once.
    fn give_up(&self) {
        let mut state = self.state();
        state.given_up = true;
        wake(state);
    }

    /// Since when it has waited for a head.
    fn waits_since(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Head(since) => Some(since),
            Phase::Busy => None,
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// All connections. When there are as many as may be, the one that has waited longest for a head gives way: whoever asks
/// at once is answered, however many only connect.
#[derive(Debug)]
pub(super) struct Lines {
    most: usize,
    open: Mutex<Vec<Arc<Line>>>,
}

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; `None` when all that are open are being answered.
    fn add(&self, now: Instant) -> Option<Arc<Line>> {
        let mut open = self.open();
        if open.len() >= self.most {
            let waiting = open.iter().enumerate();
            let waiting = waiting.filter_map(|(place, line)| Some((line.waits_since()?, place)));
            let (_, longest) = waiting.min()?;
            open.swap_remove(longest).give_up();
        }
        let line = Arc::new(Line::new(now));
        open.push(Arc::clone(&line));
        Some(line)
    }

    fn remove(&self, line: &Arc<Line>) {
        self.open().retain(|other| !Arc::ptr_eq(other, line));
    }
}

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Stream {
    io: TcpStream,
    line: Arc<Line>,
    lines: Arc<Lines>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
}

impl Stream {
    /// Takes `io` in, if there is a place for it.
    pub(super) fn accept(io: TcpStream, lines: &Arc<Lines>) -> Option<Self> {
        let now = Instant::now();
        Some(Self {
            io,
            line: lines.add(now)?,
            lines: Arc::clone(lines),
            read_timer: Box::pin(sleep_until(now)),
            write_timer: Box::pin(sleep_until(now)),
        })
    }

    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.lines.remove(&self.line);
    }
}

/// Ready when `due` has come.
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
            let mut state = this.line.state();
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
            // As if the peer had ended.
            return Poll::Ready(Ok(()));
        }
        // Also while more and more comes: what is left of a body is no head.
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
        let mut state = this.line.state();
        state.unflushed = true;
        match written {
            Poll::Ready(Ok(bytes)) => {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                state.pace.took(bytes, now);
            }
            Poll::Pending => {
                let due = state.pace.blocked(now);
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
            // All that there was has been taken.
            let mut state = this.line.state();
            if state.endless {
                state.pace = Pace::default();
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
