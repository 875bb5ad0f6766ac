//! The state that a session and the stream under lettre share: the socket, the replies, and the deadline of the current step.
//!
//! lettre gets only the class of each reply, in a fixed form; the session takes the reply itself from here.

use super::connect_error::{ConnectError, broken};
use super::reply_filter::{RawReply, ReplyFilter};
use super::socket::{PeerState, Socket};
use bytes::{Buf, Bytes};
use spool_core::Stage;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// The reason for a failure when the deadline of a step has passed.
pub(super) const TIMED_OUT: &str = "timed out";
/// The reason for a failure when the peer sent more than its greeting before EHLO was sent.
pub(super) const SPOKE_EARLY: &str = "the peer said more than its greeting before EHLO was sent";

/// The shared state. Its lock is never held across an await.
#[derive(Debug)]
pub(super) struct WireState {
    pub(super) socket: Socket,
    pub(super) filter: ReplyFilter,
    /// Bytes that arrived after the last reply that was passed to lettre.
    pub(super) input: VecDeque<u8>,
    pub(super) tail: Tail,
    pub(super) replies: VecDeque<RawReply>,
    pub(super) passed_on: u64,
    /// Bytes that are queued or being written, and not accepted by the kernel.
    pub(super) unwritten: usize,
    /// Whether the end of the body has been queued since [`Wire::forget_body`].
    pub(super) body_queued: bool,
    /// Set while a body is written.
    pub(super) writing: Option<Writing>,
    /// The end of the step, not after `end`.
    pub(super) deadline: Instant,
    /// The end of the attempt.
    end: Instant,
    /// The time limit after the greeting, until the session sets another.
    pub(super) hello_timeout: Duration,
    pub(super) failure: Option<String>,
}

/// The bytes that are sent after all others: a body, which is not copied, and its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) body: Bytes,
    pub(super) end: &'static [u8],
}

impl Tail {
    pub(super) const fn len(&self) -> usize {
        self.body.len() + self.end.len()
    }

    /// Removes the first `count` bytes, which were written.
    pub(super) fn advance(&mut self, count: usize) {
        let of_body = count.min(self.body.len());
        self.body.advance(of_body);
        self.end = self.end.get(count - of_body..).unwrap_or_default();
    }
}

/// The time limits of a body that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    /// For the next progress.
    stall: Duration,
    /// For the reply, after all of it was written.
    reply: Duration,
}

impl WireState {
    /// Some bytes were written.
    pub(super) fn progressed(&mut self) {
        if let Some(writing) = self.writing {
            self.within(writing.stall);
        }
    }

    /// All queued bytes were written.
    pub(super) fn drained(&mut self) {
        self.unwritten = self.tail.len();
        if self.body_queued
            && let Some(writing) = self.writing.take()
        {
            self.within(writing.reply);
        }
    }

    pub(super) fn within(&mut self, span: Duration) {
        self.deadline = (Instant::now() + span).min(self.end);
    }
}

/// The shared state of one connection.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    state: Arc<Mutex<WireState>>,
}

impl Wire {
    /// The state of a connection that is used until `end`.
    pub(super) fn new(tcp: TcpStream, end: Instant) -> Self {
        let state = WireState {
            socket: Socket::Plain(tcp),
            filter: ReplyFilter::default(),
            input: VecDeque::new(),
            tail: Tail::default(),
            replies: VecDeque::new(),
            passed_on: 0,
            unwritten: 0,
            body_queued: false,
            writing: None,
            deadline: end,
            end,
            hello_timeout: Duration::ZERO,
            failure: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the deadline of the next steps to `span` from now, but not after the end of the attempt.
    pub(super) fn within(&self, span: Duration) {
        self.lock().within(span);
    }

    /// Sets the end of the attempt.
    pub(super) fn until(&self, end: Instant) {
        self.lock().end = end;
    }

    /// Sets the time limits for the greeting and then for the reply to EHLO.
    pub(super) fn expect_greeting(&self, greeting: Duration, hello: Duration) {
        let mut state = self.lock();
        state.within(greeting);
        state.hello_timeout = hello;
    }

    /// Removes and returns the oldest reply.
    pub(super) fn take_reply(&self) -> Option<RawReply> {
        self.lock().replies.pop_front()
    }

    /// Why there is no reply.
    pub(super) fn failure(&self) -> String {
        self.lock()
            .failure
            .take()
            .unwrap_or_else(|| "the peer closed the connection".to_owned())
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
        state.unwritten += state.tail.len();
        state.body_queued = true;
    }

    /// Whether the peer may have the whole body: its end was queued, and the kernel has accepted all of it.
    pub(super) fn body_may_have_arrived(&self) -> bool {
        let state = self.lock();
        state.body_queued && state.unwritten == 0
    }

    /// What the peer has done while nothing was expected from it.
    pub(super) fn peer_state(&self) -> PeerState {
        let mut state = self.lock();
        if !state.input.is_empty() || !state.replies.is_empty() || state.filter.is_midway() {
            return PeerState::Sent;
        }
        state.socket.peer_state()
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
        let (tcp, deadline) = {
            let mut state = self.lock();
            (state.socket.take_plain(), state.deadline)
        };
        let failed = |error: &str| {
            let error = format!("the handshake failed: {error}");
            ConnectError::TlsFailed(broken(Stage::Tls, &error, false))
        };
        let tcp = tcp.ok_or_else(|| failed("the session is not in plaintext"))?;
        let (tls, facts) = timeout_at(deadline, handshake(tcp))
            .await
            .unwrap_or_else(|_| Err(io::Error::other(TIMED_OUT)))
            .map_err(|error| failed(&error.to_string()))?;
        self.lock().socket = Socket::Tls(Box::new(tls));
        Ok(facts)
    }

    /// Ends the writing half of the connection.
    pub(super) async fn shut_down(&self) {
        let deadline = self.lock().deadline;
        let shutdown = poll_fn(|cx| self.lock().socket.poll_shutdown(cx));
        let _ = timeout_at(deadline, shutdown).await;
    }
}
