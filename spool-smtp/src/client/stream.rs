//! The stream under lettre's connection.
//!
//! What it does for it: writes are gathered until the next read, and go out with the body that is to follow them; every read and
//! write ends at the step's deadline; and replies are bounded, repaired or refused before lettre sees them, one for each read. It
//! hands lettre only `250 ok` or `550 no`; the replies themselves go to the [`Wire`].

use super::socket::Noise;
use super::wire::{SPOKE_EARLY, TIMED_OUT, Tail, Wire, WireState};
use lettre::transport::smtp::client::AsyncTokioStream;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How much is gathered before it is written without waiting for a read.
const GATHER: usize = 64 * 1024;
/// How much is read at once.
const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct WireStream {
    wire: Wire,
    peer: SocketAddr,
    out: Vec<u8>,
    /// Of those, how many bytes are written.
    written: usize,
    /// What goes out behind them.
    tail: Tail,
    /// Whether the system has all that was written.
    is_drained: bool,
    alarm: Pin<Box<Sleep>>,
}

impl WireStream {
    pub(super) fn new(wire: Wire, peer: SocketAddr) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(wire.lock().deadline));
        Self {
            wire,
            peer,
            out: Vec::new(),
            written: 0,
            tail: Tail::default(),
            is_drained: true,
            alarm,
        }
    }

    /// An error once the deadline has passed; otherwise makes sure to be woken then.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let deadline = self.wire.lock().deadline;
        // An alarm that is set too early rings, and is set anew: cheaper than setting it for every step.
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Err(self.fail(io::ErrorKind::TimedOut, TIMED_OUT));
            }
            self.alarm.as_mut().reset(deadline);
        }
        Ok(())
    }

    fn fail(&self, kind: io::ErrorKind, why: &str) -> io::Error {
        self.wire.lock().failure.get_or_insert_with(|| why.to_owned());
        io::Error::new(kind, why.to_owned())
    }

    /// Writes what was gathered. Checks the deadline whenever it has to wait, so that a peer that takes a byte at a time
    /// ends too.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() || self.tail.len() > 0 {
            let gathered = self.out.get(self.written..).unwrap_or_default();
            let parts = [gathered, &self.tail.body, self.tail.end].map(IoSlice::new);
            let poll = self.wire.lock().socket.poll_write(cx, &parts);
            match self.or_deadline(cx, poll) {
                Poll::Ready(Ok(0)) => {
                    let error = self.fail(io::ErrorKind::WriteZero, "the connection takes no more");
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(taken)) => {
                    let of_gathered = taken.min(self.out.len() - self.written);
                    self.written += of_gathered;
                    self.tail.advance(taken - of_gathered);
                    self.is_drained = false;
                    self.wire.lock().progressed();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.is_drained {
            // TLS may hold back what it has taken.
            let poll = self.wire.lock().socket.poll_flush(cx);
            ready!(self.or_deadline(cx, poll))?;
            self.wire.lock().drained();
            self.out.clear();
            self.out.shrink_to(GATHER);
            self.written = 0;
            self.is_drained = true;
        }
        Poll::Ready(Ok(()))
    }

    /// What the socket said; and when it has to be waited for, not longer than the deadline.
    fn or_deadline<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.fail(error.kind(), &error.to_string()))),
            Poll::Pending => match self.poll_deadline(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }

    /// Hands on the next reply if it is whole.
    fn next_reply(&self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let mut state = self.wire.lock();
        let WireState { filter, input, .. } = &mut *state;
        let (taken, reply) = match filter.feed(input.make_contiguous()) {
            Ok(fed) => fed,
            Err(error) => {
                drop(state);
                return Err(self.fail(io::ErrorKind::InvalidData, &error.to_string()));
            }
        };
        input.drain(..taken);
        let Some(reply) = reply else { return Ok(false) };
        // The greeting and the reply to EHLO are for the session to judge: lettre would hang up at once.
        let goes_on = state.handed_on < 2 || reply.is(2) || reply.is(3);
        buf.put_slice(if goes_on { b"250 ok\r\n" } else { b"550 no\r\n" });
        if state.handed_on == 0 {
            let hello_timeout = state.hello_timeout;
            state.within(hello_timeout);
        }
        state.handed_on += 1;
        state.replies.push_back(reply);
        Ok(true)
    }

    /// A greeting that is not 2yz ends it: nothing is said to a peer that wants no session.
    fn is_refused(&self) -> bool {
        let state = self.wire.lock();
        state.handed_on == 1 && state.replies.front().is_some_and(|greeting| !greeting.is(2))
    }

    /// Whether EHLO is still to be written, and something came behind the greeting already: it cannot be the reply to EHLO.
    fn spoke_before_hello(&self) -> bool {
        let mut state = self.wire.lock();
        let hello_waits = state.handed_on == 1 && self.written == 0 && !self.out.is_empty();
        hello_waits
            && (!state.input.is_empty() || state.filter.is_midway() || state.socket.noise() == Noise::Spoke)
    }
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_refused() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if self.spoke_before_hello() {
            return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidData, SPOKE_EARLY)));
        }
        // Not before: of commands that are longer than what is gathered, some are written while others are still to come.
        let tail = std::mem::take(&mut self.wire.lock().tail);
        if tail.len() > 0 {
            self.tail = tail;
        }
        ready!(self.poll_drain(cx))?;
        // lettre reads with kilobytes of room; anything less than a line is not lettre.
        if buf.remaining() < b"250 ok\r\n".len() {
            return Poll::Ready(Err(self.fail(io::ErrorKind::Other, "no room for a reply")));
        }
        loop {
            if self.next_reply(buf)? {
                return Poll::Ready(Ok(()));
            }
            // Before every read: a drip that is always ready must not outlive the deadline.
            self.poll_deadline(cx)?;
            let mut space = [const { MaybeUninit::uninit() }; CHUNK];
            let mut chunk = ReadBuf::uninit(&mut space);
            let poll = self.wire.lock().socket.poll_read(cx, &mut chunk);
            match ready!(self.or_deadline(cx, poll))? {
                0 => return Poll::Ready(Ok(())),
                _ => self.wire.lock().input.extend(chunk.filled()),
            }
        }
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.len() >= GATHER {
            ready!(self.poll_drain(cx))?;
        }
        let taken = bytes.get(..GATHER).unwrap_or(bytes);
        self.out.extend_from_slice(taken);
        let mut state = self.wire.lock();
        state.unwritten += taken.len();
        // lettre writes the end of a body by itself.
        state.body_queued |= bytes == b"\r\n.\r\n";
        Poll::Ready(Ok(taken.len()))
    }

    /// Nothing yet: what was gathered is written when a reply is waited for.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the socket closes it; lettre calls this only to give a connection up.
        Poll::Ready(Ok(()))
    }
}

impl AsyncTokioStream for WireStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
