//! The stream of one connection of the admin API, with its deadlines.

use super::connection::{Connection, Passed};
use super::connections::Connections;
use super::head_end::HeadEnd;
use actix_web::rt::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that are read ahead, and the most that are passed on of a head in one turn, so that other connections get theirs.
const PIECE: usize = 4 * 1024;

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Stream {
    /// Bytes may be read ahead.
    io: BufReader<TcpStream>,
    pub(super) connection: Arc<Connection>,
    connections: Arc<Connections>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    head: HeadEnd,
    /// A part of a head was passed on in this turn.
    had_turn: bool,
}

impl Stream {
    /// Accepts `io`, unless there are too many connections.
    pub(super) fn accept(io: TcpStream, connections: &Arc<Connections>) -> Option<Self> {
        let now = Instant::now();
        Some(Self {
            io: BufReader::with_capacity(PIECE, io),
            connection: connections.add(now)?,
            connections: Arc::clone(connections),
            read_timer: Box::pin(sleep_until(now)),
            write_timer: Box::pin(sleep_until(now)),
            head: HeadEnd::default(),
            had_turn: false,
        })
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
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            self.connection.passed_others(buf.filled().len() - before);
            return Poll::Ready(Ok(()));
        }
        let unread = ready!(Pin::new(&mut self.io).poll_fill_buf(cx))?;
        if unread.is_empty() {
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
        let fits = unread.get(..buf.remaining()).unwrap_or(unread);
        let count = self.head.count(fits);
        buf.put_slice(fits.get(..count).unwrap_or_default());
        Pin::new(&mut self.io).consume(count);
        self.connection.passed_head(count, &self.connections.memory);
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
        let (passed, end) = this.connection.reading(cx)?;
        if let Some((due, end)) = end
            && poll_due(&mut this.read_timer, due, cx).is_ready()
        {
            return Poll::Ready(end);
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
