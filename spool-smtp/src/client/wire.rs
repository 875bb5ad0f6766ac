//! What the session and the stream under lettre share: the replies as they came, and the deadline of the step.
//!
//! lettre is told only the class of each reply, in a form it cannot misread; the session takes the reply itself from here.

use super::reply_filter::{RawReply, ReplyFilter};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Behind the lock: never held across an await.
#[derive(Debug)]
pub(super) struct State {
    pub(super) filter: ReplyFilter,
    /// Bytes that came after the reply that was handed on last.
    pub(super) input: VecDeque<u8>,
    pub(super) replies: VecDeque<RawReply>,
    pub(super) handed_on: u64,
    /// Bytes queued or being written that the kernel has not taken.
    pub(super) unwritten: usize,
    /// Whether the final dot has been queued since [`Wire::begin_body`].
    pub(super) dot_queued: bool,
    pub(super) deadline: Instant,
    /// From the greeting on, until the session sets its own.
    pub(super) hello_timeout: Duration,
    pub(super) failure: Option<String>,
}

/// One connection's shared part.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) tcp: Arc<TcpStream>,
    state: Arc<Mutex<State>>,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, greeting_timeout: Duration, hello_timeout: Duration) -> Self {
        let state = State {
            filter: ReplyFilter::default(),
            input: VecDeque::new(),
            replies: VecDeque::new(),
            handed_on: 0,
            unwritten: 0,
            dot_queued: false,
            deadline: Instant::now() + greeting_timeout,
            hello_timeout,
            failure: None,
        };
        Self {
            tcp: Arc::new(tcp),
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything until the next call of this must be done within `span` from now.
    pub(super) fn within(&self, span: Duration) {
        self.lock().deadline = Instant::now() + span;
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

    /// From here on the bytes are a message's body.
    pub(super) fn begin_body(&self) {
        self.lock().dot_queued = false;
    }

    /// Whether the peer may have the whole body: its end was queued and the kernel took all of it.
    pub(super) fn body_may_have_arrived(&self) -> bool {
        let state = self.lock();
        state.dot_queued && state.unwritten == 0
    }

    /// Whether the peer has said something that nobody asked for, or has gone away. For a session that waits for nothing.
    pub(super) fn has_spoken_or_gone(&self) -> bool {
        let state = self.lock();
        if !state.input.is_empty() || !state.replies.is_empty() || state.filter.is_midway() {
            return true;
        }
        drop(state);
        !matches!(self.tcp.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
