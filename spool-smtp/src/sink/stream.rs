//! The connection of a sink's session: plain TCP, or TLS over it. It knows no SMTP.

use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many bytes [`SinkStream::sip`] reads.
const SIP: u64 = 1024;

#[derive(Debug)]
pub(super) enum SinkStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Reset, or lost in a failed handshake.
    Gone,
}

impl SinkStream {
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Gone => None,
        }
    }

    /// Reads more; false at the end of the connection, or if nothing arrives within `patience`.
    pub(super) async fn read(&mut self, input: &mut BytesMut, patience: Duration) -> io::Result<bool> {
        input.reserve(4096);
        // A timer for every read would be more expensive than the read.
        if let Self::Plain(tcp) = self
            && let Ok(n) = tcp.try_read_buf(input)
        {
            return Ok(n > 0);
        }
        let read = async {
            match self {
                Self::Plain(tcp) => tcp.read_buf(input).await,
                Self::Tls(tls) => tls.read_buf(input).await,
                Self::Gone => Ok(0),
            }
        };
        match tokio::time::timeout(patience, read).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => Ok(false),
        }
    }

    /// Reads a few bytes; false as for [`SinkStream::read`].
    pub(super) async fn sip(&mut self, input: &mut BytesMut, patience: Duration) -> io::Result<bool> {
        let read = async {
            match self {
                Self::Plain(tcp) => tcp.take(SIP).read_buf(input).await,
                Self::Tls(tls) => tls.take(SIP).read_buf(input).await,
                Self::Gone => Ok(0),
            }
        };
        match tokio::time::timeout(patience, read).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => Ok(false),
        }
    }

    /// Writes all bytes; fails if that takes longer than `patience`.
    pub(super) async fn write(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let written = async {
            match self {
                Self::Plain(tcp) => tcp.write_all(bytes).await,
                Self::Tls(tls) => {
                    tls.write_all(bytes).await?;
                    tls.flush().await
                }
                Self::Gone => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        tokio::time::timeout(patience, written).await?
    }

    /// Starts TLS, within `patience`.
    pub(super) async fn upgrade(&mut self, acceptor: &TlsAcceptor, patience: Duration) -> io::Result<()> {
        let Self::Plain(tcp) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("the connection cannot be upgraded"));
        };
        let tls = tokio::time::timeout(patience, acceptor.accept(tcp)).await??;
        *self = Self::Tls(Box::new(tls));
        Ok(())
    }

    /// Ends it with RST.
    pub(super) fn reset(&mut self) -> io::Result<()> {
        if let Some(tcp) = self.tcp() {
            tcp.set_zero_linger()?;
        }
        *self = Self::Gone;
        Ok(())
    }

    /// Makes the receive buffer as small as the system allows.
    pub(super) fn narrow(&self) -> io::Result<()> {
        let tcp = self.tcp().map(socket2::SockRef::from);
        tcp.map_or(Ok(()), |tcp| tcp.set_recv_buffer_size(1))
    }

    /// Ends TLS with its closing alert, within `patience`; TCP ends when this is dropped.
    pub(super) async fn shut_down(&mut self, patience: Duration) {
        if let Self::Tls(tls) = self {
            let _ = tokio::time::timeout(patience, tls.shutdown()).await;
        }
    }
}
