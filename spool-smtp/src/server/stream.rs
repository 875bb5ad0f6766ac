//! The stream of a session: plain, or TLS over it. It knows no SMTP and does not read ahead: bytes that were not
//! read are still in the plain stream when TLS begins.

use super::tls::ServerTls;
use spool_core::TlsSession;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// See the module.
#[derive(Debug)]
pub(super) enum SessionStream<S> {
    /// In plaintext.
    Plain(S),
    /// Under TLS.
    Tls(Box<TlsStream<S>>),
    /// Lost in a handshake that failed.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SessionStream<S> {
    /// The server's part of a handshake. Dropping the future, or an error, loses the stream.
    ///
    /// # Errors
    /// When the handshake fails; the client has the alert then, if it takes it. When the stream is not plain.
    pub(super) async fn start_tls(&mut self, tls: &ServerTls) -> io::Result<TlsSession> {
        let Self::Plain(plain) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("the stream is not plain"));
        };
        let (stream, session) = tls.accept(plain).await?;
        *self = Self::Tls(Box::new(stream));
        Ok(session)
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SessionStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SessionStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}
