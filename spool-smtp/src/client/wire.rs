//! The connection of a session: the stream, the queued bytes, the deadline of the current step, and the replies.
//!
//! Writes are gathered until the next read, and sent together with the body that follows them. Every read and write ends at the deadline
//! of the step. lettre writes commands and bodies through [`WireStream`](super::stream::WireStream), and learns nothing of the replies.

use super::connect_error::{ConnectError, broken};
use super::reply_filter::{RawReply, ReplyFilter};
use crate::deadline::{Deadline, from_now};
use crate::stream::Stream;
use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use spool_core::Stage;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// The reason for a failure when the deadline of a step has passed.
pub(super) const TIMED_OUT: &str = "timed out";
const CLOSED: &str = "the peer closed the connection";
/// How many bytes are gathered before they are written without waiting for a read.
pub(super) const GATHER: usize = 64 * 1024;
/// How many bytes are read at once.
const CHUNK: usize = 4096;

/// The state of a connection. Its lock is never held across an await.
pub(super) struct WireState {
    stream: Stream<TcpStream>,
    filter: ReplyFilter,
    /// Bytes that arrived after the last reply.
    input: Vec<u8>,
    /// Bytes to be sent, and how many of them are written.
    out: Vec<u8>,
    written: usize,
    tail: Tail,
    /// Whether the system has accepted all bytes that were queued.
    is_drained: bool,
    /// Whether the end of the body has been queued since [`Wire::forget_body`].
    body_queued: bool,
    /// Set while a body is written.
    writing: Option<Writing>,
    /// Not after `end`.
    deadline: Deadline,
    /// The end of the attempt.
    end: Instant,
    /// The result of the last command that went through lettre, until the session takes it.
    pub(super) outcome: Option<Result<RawReply, String>>,
}

/// The bytes that are sent after all others: a body, which is not copied, and its end.
#[derive(Debug, Default)]
struct Tail {
    body: Bytes,
    end: &'static [u8],
}

impl Tail {
    const fn len(&self) -> usize {
        self.body.len() + self.end.len()
    }

    /// Removes the first `count` bytes, which were written.
    fn advance(&mut self, count: usize) {
        let of_body = count.min(self.body.len());
        self.body.advance(of_body);
        self.end = self.end.get(count - of_body..).unwrap_or_default();
    }
}

/// The time limits of a body that is being written.
#[derive(Debug, Clone, Copy)]
struct Writing {
    /// For the next progress.
    stall: Duration,
    /// For the reply, after all of it was written.
    reply: Duration,
}

/// What a peer has done while nothing was expected from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerState {
    Quiet,
    /// It has sent bytes.
    Sent,
    /// It has closed the connection, or the connection broke.
    Closed,
}

impl WireState {
    fn within(&mut self, span: Duration) {
        self.deadline.move_to(from_now(span).min(self.end));
    }

    /// Queues some of `bytes`, and returns how many. Writes when many are gathered, unless a body must follow all of them.
    pub(super) fn poll_queue(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, String>> {
        if self.out.len() >= GATHER && self.tail.len() == 0 {
            ready!(self.poll_drain(cx))?;
        }
        let taken = bytes.get(..GATHER).unwrap_or(bytes);
        self.out.extend_from_slice(taken);
        self.is_drained = false;
        // lettre writes the end of a body separately.
        self.body_queued |= bytes == b"\r\n.\r\n";
        Poll::Ready(Ok(taken.len()))
    }

    /// Writes the queued bytes. The deadline is checked at each wait, so that a peer that reads byte by byte does not extend it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        while self.written < self.out.len() || self.tail.len() > 0 {
            let gathered = self.out.get(self.written..).unwrap_or_default();
            let parts = [gathered, &self.tail.body, self.tail.end].map(IoSlice::new);
            let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, &parts);
            let taken = ready!(self.or_deadline(cx, poll))?;
            if taken == 0 {
                return Poll::Ready(Err("the connection takes no more".to_owned()));
            }
            let of_gathered = taken.min(self.out.len() - self.written);
            self.written += of_gathered;
            self.tail.advance(taken - of_gathered);
            if let Some(writing) = self.writing {
                self.within(writing.stall);
            }
        }
        if !self.is_drained {
            // TLS may buffer what it has accepted.
            let poll = Pin::new(&mut self.stream).poll_flush(cx);
            ready!(self.or_deadline(cx, poll))?;
            self.out.clear();
            self.out.shrink_to(GATHER);
            self.written = 0;
            self.is_drained = true;
            if self.body_queued
                && let Some(writing) = self.writing.take()
            {
                self.within(writing.reply);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the queued bytes and reads the next reply.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<RawReply, String>> {
        ready!(self.poll_drain(cx))?;
        loop {
            let fed = self.filter.feed(&self.input);
            let (taken, reply) = fed.map_err(|error| error.to_string())?;
            self.input.drain(..taken);
            if let Some(reply) = reply {
                return Poll::Ready(Ok(reply));
            }
            // Before every read, because a socket that is always ready must not extend the deadline.
            if self.deadline.poll(cx).is_ready() {
                return Poll::Ready(Err(TIMED_OUT.to_owned()));
            }
            let mut space = [const { MaybeUninit::uninit() }; CHUNK];
            let mut chunk = ReadBuf::uninit(&mut space);
            let poll = Pin::new(&mut self.stream).poll_read(cx, &mut chunk);
            ready!(self.or_deadline(cx, poll))?;
            match chunk.filled() {
                [] => return Poll::Ready(Err(CLOSED.to_owned())),
                read => self.input.extend_from_slice(read),
            }
        }
    }

    /// The result of the stream; if it is pending, an error when the deadline has passed.
    fn or_deadline<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<Result<T, String>> {
        match poll {
            // Accepted without the closing alert of TLS, because a truncated reply is not accepted anyway.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(CLOSED.to_owned()))
            }
            Poll::Ready(done) => Poll::Ready(done.map_err(|error| error.to_string())),
            Poll::Pending => self.deadline.poll(cx).map(|()| Err(TIMED_OUT.to_owned())),
        }
    }

    /// What the peer has done, when nothing is expected from it. TLS messages such as session tickets do not count. A byte that was sent is
    /// lost.
    fn peer_state(&mut self) -> PeerState {
        if !self.input.is_empty() || self.filter.is_midway() {
            return PeerState::Sent;
        }
        let stream = &mut self.stream;
        let read = match stream {
            Stream::Plain(tcp) => match tcp.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read.map(|count| count > 0)),
            },
            Stream::Tls(_) | Stream::Gone => {
                let mut space = [0];
                let mut byte = ReadBuf::new(&mut space);
                // Unconstrained, because an exhausted budget of the task would look like no input.
                let read =
                    tokio::task::unconstrained(poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut byte)));
                let read = pin!(read).poll(&mut Context::from_waker(Waker::noop()));
                read.map_ok(|()| !byte.filled().is_empty())
            }
        };
        match read {
            Poll::Pending => PeerState::Quiet,
            Poll::Ready(Ok(false) | Err(_)) => PeerState::Closed,
            Poll::Ready(Ok(true)) => PeerState::Sent,
        }
    }
}

/// The shared state of one connection. Its `Debug` shows nothing: credentials may be queued.
#[derive(Clone, derive_more::Debug)]
#[debug("Wire")]
pub(super) struct Wire(Arc<Mutex<WireState>>);

impl Wire {
    /// The state of a connection that is used until `end`.
    pub(super) fn new(tcp: TcpStream, end: Instant) -> Self {
        Self(Arc::new(Mutex::new(WireState {
            stream: Stream::Plain(tcp),
            filter: ReplyFilter::default(),
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            tail: Tail::default(),
            is_drained: true,
            body_queued: false,
            writing: None,
            deadline: Deadline::at(end),
            end,
            outcome: None,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, WireState> {
        self.0.lock()
    }

    /// Sets the deadline of the next steps to `span` from now, but not after the end of the attempt.
    pub(super) fn within(&self, span: Duration) {
        self.lock().within(span);
    }

    /// Sets the end of the attempt.
    pub(super) fn until(&self, end: Instant) {
        self.lock().end = end;
    }

    /// Sends what is queued, and reads the next reply.
    pub(super) async fn reply(&self) -> Result<RawReply, String> {
        poll_fn(|cx| self.lock().poll_reply(cx)).await
    }

    /// The reply to the last command that went through lettre.
    pub(super) fn take_reply(&self) -> Result<RawReply, String> {
        let outcome = self.lock().outcome.take();
        outcome.unwrap_or_else(|| Err(CLOSED.to_owned()))
    }

    /// Clears the state of the last body.
    pub(super) fn forget_body(&self) {
        let mut state = self.lock();
        state.body_queued = false;
        state.writing = None;
    }

    /// The next bytes are the body of a message: each progress must happen within `stall`, and the reply must arrive within `reply` after
    /// the end of the body.
    pub(super) fn begin_body(&self, stall: Duration, reply: Duration) {
        let mut state = self.lock();
        state.body_queued = false;
        state.writing = Some(Writing { stall, reply });
        state.within(stall);
    }

    /// Sends `body` and `end` after the commands that are written before the next reply is read. No dots are stuffed.
    pub(super) fn follow_with(&self, body: Bytes, end: &'static [u8]) {
        let mut state = self.lock();
        state.tail = Tail { body, end };
        state.is_drained = false;
        state.body_queued = true;
    }

    /// Whether the peer may have the whole body: its end was queued, and the kernel has accepted all of it.
    pub(super) fn body_may_have_arrived(&self) -> bool {
        let state = self.lock();
        state.body_queued && state.is_drained
    }

    /// What the peer has done while nothing was expected from it.
    pub(super) fn peer_state(&self) -> PeerState {
        self.lock().peer_state()
    }

    /// Whether the peer has sent something or closed the connection while no reply is expected.
    pub(super) fn has_sent_or_closed(&self) -> bool {
        self.peer_state() != PeerState::Quiet
    }

    /// Replaces the connection by the result of `handshake`, within the deadline of the step. Fails if there is unread input: replies that
    /// were injected after the 220 would count as received through TLS. There is no retry in plaintext either.
    pub(super) async fn upgrade<T, F>(
        &self,
        handshake: impl FnOnce(TcpStream) -> F,
    ) -> Result<T, ConnectError>
    where
        F: Future<Output = io::Result<(TlsStream<TcpStream>, T)>>,
    {
        if self.peer_state() == PeerState::Sent {
            let error = "the peer sent more than was asked before the handshake";
            return Err(ConnectError::broken(Stage::Tls, error));
        }
        let (mut stream, deadline) = {
            let mut state = self.lock();
            let stream = std::mem::replace(&mut state.stream, Stream::Gone);
            (stream, state.deadline.end())
        };
        let facts = timeout_at(deadline, stream.upgrade(handshake)).await;
        let facts = facts.unwrap_or_else(|_| Err(io::Error::other(TIMED_OUT)));
        self.lock().stream = stream;
        facts.map_err(|error| {
            let error = format!("the handshake failed: {error}");
            ConnectError::TlsFailed(broken(Stage::Tls, &error, false))
        })
    }

    /// Ends the writing half of the connection.
    pub(super) async fn shut_down(&self) {
        let deadline = self.lock().deadline.end();
        let shutdown = poll_fn(|cx| Pin::new(&mut self.lock().stream).poll_shutdown(cx));
        let _ = timeout_at(deadline, shutdown).await;
    }
}
