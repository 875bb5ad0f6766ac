//! What the session and the stream under lettre share: the socket, the replies as they came, and the deadline of the step.
//!
//! lettre is told only the class of each reply, in a form it cannot misread; the session takes the reply itself from here.

use super::reply_filter::{RawReply, ReplyFilter};
use super::socket::{Noise, Socket};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// The reason for which a step fails that was not done by its deadline.
pub(super) const TIMED_OUT: &str = "timed out";
/// The reason for which a session fails whose peer said more than its greeting before EHLO was sent.
pub(super) const SPOKE_EARLY: &str = "the peer said more than its greeting before EHLO was sent";

/// Behind the lock: never held across an await.
#[derive(Debug)]
pub(super) struct WireState {
    pub(super) socket: Socket,
    pub(super) filter: ReplyFilter,
    /// Bytes that came after the reply that was handed on last.
    pub(super) input: VecDeque<u8>,
    pub(super) tail: Tail,
    pub(super) replies: VecDeque<RawReply>,
    pub(super) handed_on: u64,
    /// Bytes queued or being written that the kernel has not taken.
    pub(super) unwritten: usize,
    /// Whether the end of the body has been queued since [`Wire::forget_body`].
    pub(super) body_queued: bool,
    /// While a body is being written.
    pub(super) writing: Option<Writing>,
    /// The end of the step; never after `end`.
    pub(super) deadline: Instant,
    /// The end of the attempt, whatever its steps may take.
    end: Instant,
    /// From the greeting on, until the session sets its own.
    pub(super) hello_timeout: Duration,
    pub(super) failure: Option<String>,
}

/// What goes out behind all that was written, as it is: a body, which is not copied, and what ends it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) body: Bytes,
    pub(super) end: &'static [u8],
}

impl Tail {
    pub(super) const fn len(&self) -> usize {
        self.body.len() + self.end.len()
    }

    /// The first `count` bytes of it are written.
    pub(super) fn advance(&mut self, count: usize) {
        let of_body = count.min(self.body.len());
        self.body.advance(of_body);
        self.end = self.end.get(count - of_body..).unwrap_or_default();
    }
}

/// The limits of a body that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    /// For the next bytes of it to be taken.
    stall: Duration,
    /// For the reply, once all of it was taken.
    reply: Duration,
}

impl WireState {
    /// The peer's side took some of what was written.
    pub(super) fn progressed(&mut self) {
        if let Some(writing) = self.writing {
            self.within(writing.stall);
        }
    }

    /// All that was queued is written.
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

/// Why a connection is not under TLS.
#[derive(Debug)]
pub(super) enum UpgradeError {
    /// Bytes came in the clear that belong to no reply.
    Spoke,
    /// The handshake, in one line.
    Failed(String),
}

/// One connection's shared part.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    state: Arc<Mutex<WireState>>,
}

impl Wire {
    /// For a connection that is to be of use until `end`.
    pub(super) fn new(tcp: TcpStream, end: Instant) -> Self {
        let state = WireState {
            socket: Socket::Plain(tcp),
            filter: ReplyFilter::default(),
            input: VecDeque::new(),
            tail: Tail::default(),
            replies: VecDeque::new(),
            handed_on: 0,
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

    /// Everything until the next call of this must be done within `span` from now, and before the end of the attempt.
    pub(super) fn within(&self, span: Duration) {
        self.lock().within(span);
    }

    /// From now on `end` is the last moment for every step.
    pub(super) fn until(&self, end: Instant) {
        self.lock().end = end;
    }

    /// The greeting within `greeting`, and then the reply to EHLO within `hello`.
    pub(super) fn expect_greeting(&self, greeting: Duration, hello: Duration) {
        let mut state = self.lock();
        state.within(greeting);
        state.hello_timeout = hello;
    }

    /// The oldest reply that the session has not seen.
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

    /// No body is on its way.
    pub(super) fn forget_body(&self) {
        let mut state = self.lock();
        state.body_queued = false;
        state.writing = None;
    }

    /// From here on the bytes are a message's body: some of it must be taken within `stall`, again and again, and the reply must come
    /// within `reply` after the end of it.
    pub(super) fn begin_body(&self, stall: Duration, reply: Duration) {
        let mut state = self.lock();
        state.body_queued = false;
        state.writing = Some(Writing { stall, reply });
        state.within(stall);
    }

    /// Has `body` and `end` go out before the next reply is read, behind the commands that are written until then. No dots are stuffed.
    pub(super) fn follow_with(&self, body: Bytes, end: &'static [u8]) {
        let mut state = self.lock();
        state.tail = Tail { body, end };
        state.unwritten += state.tail.len();
        state.body_queued = true;
    }

    /// Whether the peer may have the whole body: its end was queued and the kernel took all of it.
    pub(super) fn body_may_have_arrived(&self) -> bool {
        let state = self.lock();
        state.body_queued && state.unwritten == 0
    }

    /// What the peer has done while nobody waited for it.
    pub(super) fn noise(&self) -> Noise {
        let mut state = self.lock();
        if !state.input.is_empty() || !state.replies.is_empty() || state.filter.is_midway() {
            return Noise::Spoke;
        }
        state.socket.noise()
    }

    /// Whether the peer has said something that nobody asked for, or has gone away. For a session that waits for nothing.
    pub(super) fn has_spoken_or_gone(&self) -> bool {
        self.noise() != Noise::Quiet
    }

    /// Puts the TLS that `handshake` makes of the connection in its place, by the deadline of the step. What was read before
    /// must have been used up: a byte that came in the clear would be taken for one that came through TLS.
    pub(super) async fn upgrade<T, F>(
        &self,
        handshake: impl FnOnce(TcpStream) -> F,
    ) -> Result<T, UpgradeError>
    where
        F: Future<Output = Result<(TlsStream<TcpStream>, T), String>>,
    {
        if self.noise() == Noise::Spoke {
            return Err(UpgradeError::Spoke);
        }
        let (tcp, deadline) = {
            let mut state = self.lock();
            (state.socket.take_plain(), state.deadline)
        };
        let tcp = tcp.ok_or_else(|| UpgradeError::Failed("the session is not in plaintext".to_owned()))?;
        let (tls, facts) = timeout_at(deadline, handshake(tcp))
            .await
            .unwrap_or_else(|_| Err(TIMED_OUT.to_owned()))
            .map_err(UpgradeError::Failed)?;
        self.lock().socket = Socket::Tls(Box::new(tls));
        Ok(facts)
    }

    /// Says that nothing more will be written.
    pub(super) async fn shut_down(&self) {
        let deadline = self.lock().deadline;
        let shutdown = poll_fn(|cx| self.lock().socket.poll_shutdown(cx));
        let _ = timeout_at(deadline, shutdown).await;
    }
}
