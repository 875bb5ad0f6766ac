//! The stream of one connection: plain TCP, or TLS over it. It knows no SMTP.

use super::tls::Connector;
use crate::client::tls::TlsFacts;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub(super) enum LoadStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost in a failed handshake.
    Gone,
}

impl LoadStream {
    /// Reads at least one byte, or 0 at the end; an error if nothing arrives within `patience`.
    pub(super) async fn read(&mut self, input: &mut Vec<u8>, patience: Duration) -> io::Result<usize> {
        // The reply is usually there already: a timer is made only if it is not.
        if let Self::Plain(tcp) = self {
            match tcp.try_read_buf(input) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
        let read = async {
            match self {
                Self::Plain(tcp) => tcp.read_buf(input).await,
                Self::Tls(tls) => tls.read_buf(input).await,
                Self::Gone => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        tokio::time::timeout(patience, read).await?
    }

    /// Writes all of it.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Starts TLS, within `patience`.
    pub(super) async fn upgrade(
        &mut self,
        connector: &Connector,
        patience: Duration,
    ) -> io::Result<TlsFacts> {
        let Self::Plain(tcp) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("the connection cannot be upgraded"));
        };
        let (tls, facts) = tokio::time::timeout(patience, connector.handshake(tcp)).await??;
        *self = Self::Tls(Box::new(tls));
        Ok(facts)
    }
}
