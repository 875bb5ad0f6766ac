//! The socket of a session: plain TCP, or TLS over it. It knows no SMTP.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken for a handshake that is running or has failed.
    Gone,
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

impl Socket {
    /// Takes the TCP connection, for a handshake.
    pub(super) fn take_plain(&mut self) -> Option<TcpStream> {
        match std::mem::replace(self, Self::Gone) {
            Self::Plain(tcp) => Some(tcp),
            other @ (Self::Tls(_) | Self::Gone) => {
                *self = other;
                None
            }
        }
    }

    /// Reads at least one byte; `Ok(0)` if the peer has closed the connection, with or without closing TLS.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let read = match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        read.map(|done| match done {
            Ok(()) => Ok(buf.filled().len()),
            // Accepted without the closing alert, because a truncated reply is not accepted anyway.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        })
    }

    /// Writes a part of the consecutive `parts`; returns the number of bytes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Waits until the system has accepted everything that was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing half of the connection.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// What the peer has done, when nothing is expected from it. TLS messages such as session tickets do not count. A byte that was sent is
    /// lost.
    pub(super) fn peer_state(&mut self) -> PeerState {
        let read = match self {
            Self::Plain(tcp) => match tcp.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            },
            Self::Tls(_) | Self::Gone => {
                // Unconstrained, because an exhausted budget of the task would look like no input.
                let read =
                    tokio::task::unconstrained(poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut [0]))));
                pin!(read).poll(&mut Context::from_waker(Waker::noop()))
            }
        };
        match read {
            Poll::Pending => PeerState::Quiet,
            Poll::Ready(Ok(0) | Err(_)) => PeerState::Closed,
            Poll::Ready(Ok(_)) => PeerState::Sent,
        }
    }
}
