//! A connection that is plain, or under TLS. It knows no SMTP and does not read ahead: bytes that were not read are still in the
//! plain stream when TLS begins.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsStream;

/// See the module.
#[derive(Debug)]
pub(crate) enum Stream<S> {
    /// In plaintext.
    Plain(S),
    /// Under TLS.
    Tls(Box<TlsStream<S>>),
    /// Reset, or lost in a handshake that failed.
    Gone,
}

/// A stream in both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Whether it is under TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The connection itself.
    pub(crate) fn connection(&self) -> Option<&S> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Gone => None,
        }
    }

    /// Begins TLS by `handshake`, and returns what that tells of the session. Dropping the future, or an error, loses the stream.
    ///
    /// # Errors
    /// When the handshake fails. When the stream is not plain.
    pub(crate) async fn upgrade<T: Into<TlsStream<S>>, F, H: Future<Output = io::Result<(T, F)>>>(
        &mut self,
        handshake: impl FnOnce(S) -> H,
    ) -> io::Result<F> {
        let Self::Plain(plain) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("the stream is not plain"));
        };
        let (tls, facts) = handshake(plain).await?;
        *self = Self::Tls(Box::new(tls.into()));
        Ok(facts)
    }

    /// Writes all bytes, and waits until the system has accepted them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    fn duplex(self: Pin<&mut Self>) -> io::Result<Pin<&mut (dyn Duplex + '_)>> {
        match self.get_mut() {
            Self::Plain(plain) => Ok(Pin::new(plain)),
            Self::Tls(tls) => Ok(Pin::new(tls.as_mut())),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.duplex()?.poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.duplex()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.duplex()?.poll_write_vectored(context, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex()?.poll_shutdown(context)
    }
}
