//! The stream of one connection of the admin API, with its deadlines.

use super::connection::{Connection, Passed, Reading};
use super::connections::Connections;
use super::read_ahead::ReadAhead;
use actix_web::rt::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

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

    /// Passes on what may be passed on, and reads when nothing is left. The end of the stream is noticed in every phase.
    fn poll_pass(
        &mut self,
        passed: Passed,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if passed == Passed::All {
            let before = buf.filled().len();
            if self.ahead.pass_all(buf) == 0 {
                ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            }
            self.connection.passed_others(buf.filled().len() - before);
            return Poll::Ready(Ok(()));
        }
        if !ready!(self.ahead.poll_fill(&mut self.io, cx))? {
            return Poll::Ready(Ok(()));
        }
        if passed == Passed::Nothing {
            self.connection.holds_back();
            return Poll::Pending;
        }
        self.had_turn = !self.had_turn;
        if !self.had_turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = self.ahead.pass_head(buf);
        self.connection.passed_head(count, self.connections.memory());
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
        let Reading {
            passed,
            head_due,
            until,
        } = this.connection.reading(cx)?;
        if let Some(until) = until
            && poll_due(&mut this.read_timer, until, cx).is_ready()
        {
            // As if the peer had closed the connection.
            return Poll::Ready(Ok(()));
        }
        // Also while bytes arrive: the rest of a body is no head.
        if let (None, Some(due)) = (until, head_due)
            && poll_due(&mut this.read_timer, due, cx).is_ready()
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
        match written {
            Poll::Ready(Ok(bytes)) => this.connection.wrote(bytes, now),
            Poll::Pending => {
                let due = this.connection.write_blocked(now);
                ready!(poll_due(&mut this.write_timer, due, cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.sent();
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
