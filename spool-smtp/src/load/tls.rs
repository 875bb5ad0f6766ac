//! TLS of the load generator: when it begins, and which certificates it accepts. The handshake is the delivery client's.

use crate::client::TrustRoots;
use crate::client::tls::{TlsClient, TlsFacts};
use crate::sink::TlsMode;
use std::io;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// TLS of all connections of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadTls {
    /// When it begins.
    pub mode: TlsMode,
    /// The authorities that certificates are checked against; `None`: any certificate is accepted.
    pub roots: Option<TrustRoots>,
    /// The name or address that the certificate must be valid for; `None`: the address that is connected to.
    pub name: Option<String>,
}

impl LoadTls {
    /// TLS that checks certificates against the authorities of the machine.
    #[must_use]
    pub const fn new(mode: TlsMode) -> Self {
        Self {
            mode,
            roots: Some(TrustRoots::System),
            name: None,
        }
    }
}

/// What the handshakes of a run share.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) mode: TlsMode,
    tls: TlsClient,
    verify: bool,
    name: Option<String>,
}

impl Connector {
    pub(super) fn new(tls: LoadTls) -> Self {
        Self {
            mode: tls.mode,
            verify: tls.roots.is_some(),
            tls: TlsClient::new(tls.roots.unwrap_or_default()),
            name: tls.name,
        }
    }

    /// # Errors
    /// Of kind `InvalidData` or `InvalidInput` when the peer or its certificate is refused, or refuses us.
    pub(super) async fn handshake(&self, tcp: TcpStream) -> io::Result<(TlsStream<TcpStream>, TlsFacts)> {
        let address = tcp.peer_addr()?.ip().to_string();
        let host = self.name.as_deref().unwrap_or(&address);
        let done = self.tls.handshake(tcp, host, self.verify, None).await;
        done.map_err(|error| io::Error::new(error.kind(), format!("TLS with {host}: {error}")))
    }
}
