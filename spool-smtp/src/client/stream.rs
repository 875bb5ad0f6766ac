//! The stream that lettre's connection writes to and reads from: a view of a [`Wire`].
//!
//! lettre reads a fixed line in place of each reply, as soon as that has arrived. The session takes the reply itself from the wire, and
//! decides about it.

use super::wire::Wire;
use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct WireStream {
    pub(super) wire: Wire,
    pub(super) peer: SocketAddr,
    /// Whether lettre has its greeting. The peer's own was read before.
    pub(super) is_greeted: bool,
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.is_greeted, true) {
            let mut state = self.wire.lock();
            // lettre sends QUIT after an error, which the session decides about.
            if state.outcome.is_some() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            let outcome = ready!(state.poll_reply(cx));
            if state.outcome.insert(outcome).is_err() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
        }
        // lettre reads with a buffer of kilobytes.
        buf.put_slice(b"250 ok\r\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.wire.lock();
        let queued = ready!(state.poll_queue(cx, bytes));
        Poll::Ready(queued.map_err(|error| {
            state.outcome.get_or_insert(Err(error));
            io::ErrorKind::NotConnected.into()
        }))
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
