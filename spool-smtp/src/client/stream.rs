//! The stream under lettre's connection.
//!
//! Writes are gathered until the next read, and sent together with the body that follows them. Every read and write ends at the deadline
//! of the step. Replies are bounded and checked before lettre reads them, one for each read: lettre gets only `250 ok` or `550 no`, and
//! the replies themselves go to the [`Wire`].

use super::socket::PeerState;
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

/// How many bytes are gathered before they are written without waiting for a read.
const GATHER: usize = 64 * 1024;
/// How many bytes are read at once.
const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct WireStream {
    wire: Wire,
    peer: SocketAddr,
    out: Vec<u8>,
    /// How many bytes of `out` are written.
    written: usize,
    /// The bytes that are sent after `out`.
    tail: Tail,
    /// Whether the system has accepted all that was written.
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

    /// Fails if the deadline has passed; otherwise registers to be woken at the deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let deadline = self.wire.lock().deadline;
        // The alarm is set again when it rings too early, which is cheaper than for every step.
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

    /// Writes the gathered bytes. The deadline is checked at each wait, so that a peer that reads byte by byte does not extend it.
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
            // TLS may buffer what it has accepted.
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

    /// The result of the socket; if it is pending, an error when the deadline has passed.
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

    /// Passes on the next reply if it is complete.
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
        // The session decides about the greeting and the reply to EHLO; lettre would close the connection at once.
        let goes_on = state.passed_on < 2 || reply.is(2) || reply.is(3);
        buf.put_slice(if goes_on { b"250 ok\r\n" } else { b"550 no\r\n" });
        if state.passed_on == 0 {
            let hello_timeout = state.hello_timeout;
            state.within(hello_timeout);
        }
        state.passed_on += 1;
        state.replies.push_back(reply);
        Ok(true)
    }

    /// Whether the greeting was not 2yz: nothing is sent to such a peer.
    fn is_refused(&self) -> bool {
        let state = self.wire.lock();
        state.passed_on == 1 && state.replies.front().is_some_and(|greeting| !greeting.is(2))
    }

    /// Whether the peer sent something after the greeting, before EHLO was written: it cannot be the reply to EHLO.
    fn sent_before_hello(&self) -> bool {
        let mut state = self.wire.lock();
        let hello_waits = state.passed_on == 1 && self.written == 0 && !self.out.is_empty();
        hello_waits
            && (!state.input.is_empty()
                || state.filter.is_midway()
                || state.socket.peer_state() == PeerState::Sent)
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
        if self.sent_before_hello() {
            return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidData, SPOKE_EARLY)));
        }
        // Only now, because commands longer than the buffer are written before all of them were gathered.
        let tail = std::mem::take(&mut self.wire.lock().tail);
        if tail.len() > 0 {
            self.tail = tail;
        }
        ready!(self.poll_drain(cx))?;
        // lettre reads with a buffer of kilobytes.
        if buf.remaining() < b"250 ok\r\n".len() {
            return Poll::Ready(Err(self.fail(io::ErrorKind::Other, "no room for a reply")));
        }
        loop {
            if self.next_reply(buf)? {
                return Poll::Ready(Ok(()));
            }
            // Before every read, because a socket that is always ready must not extend the deadline.
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
        // lettre writes the end of a body separately.
        state.body_queued |= bytes == b"\r\n.\r\n";
        Poll::Ready(Ok(taken.len()))
    }

    /// Does nothing: the gathered bytes are written when a reply is read.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the socket closes it; lettre calls this only when it gives up a connection.
        Poll::Ready(Ok(()))
    }
}

impl AsyncTokioStream for WireStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
