//! The socket of a session: plain TCP, or TLS over it once it was upgraded. It knows no SMTP.

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
    /// Taken out for a handshake that is running or has failed.
    Gone,
}

/// What a peer has done that nobody waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noise {
    Quiet,
    Spoke,
    /// It closed the connection, or the connection broke.
    Gone,
}

impl Socket {
    /// The TCP connection, to be upgraded; nothing is left in its place.
    pub(super) fn take_plain(&mut self) -> Option<TcpStream> {
        match std::mem::replace(self, Self::Gone) {
            Self::Plain(tcp) => Some(tcp),
            other @ (Self::Tls(_) | Self::Gone) => {
                *self = other;
                None
            }
        }
    }

    /// Reads at least one byte; `Ok(0)` when the peer has closed, with or without the close of TLS.
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
            // A reply is whole or it is none: a connection cut off short can pass for nothing else.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        })
    }

    /// Writes some of `parts`, which follow each other, and says how many bytes of them.
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

    /// Until the system has taken everything that was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more will be written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// What is there to read, for whoever expects nothing. What TLS says to itself (session tickets) is no noise. A byte of
    /// what was said is lost.
    pub(super) fn noise(&mut self) -> Noise {
        let read = match self {
            Self::Plain(tcp) => match tcp.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            },
            Self::Tls(_) | Self::Gone => {
                // Outside the task's budget: a used up budget would look like silence.
                let read =
                    tokio::task::unconstrained(poll_fn(|cx| self.poll_read(cx, &mut ReadBuf::new(&mut [0]))));
                pin!(read).poll(&mut Context::from_waker(Waker::noop()))
            }
        };
        match read {
            Poll::Pending => Noise::Quiet,
            Poll::Ready(Ok(0) | Err(_)) => Noise::Gone,
            Poll::Ready(Ok(_)) => Noise::Spoke,
        }
    }
}
