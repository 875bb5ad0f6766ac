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
    client: TlsClient,
    pub(super) tls: LoadTls,
}

impl Connector {
    pub(super) fn new(tls: LoadTls) -> Self {
        let client = TlsClient::new(tls.roots.clone().unwrap_or_default());
        Self { client, tls }
    }

    /// # Errors
    /// Of kind `InvalidData` or `InvalidInput` when the peer or its certificate is refused, or refuses us.
    pub(super) async fn handshake(&self, tcp: TcpStream) -> io::Result<(TlsStream<TcpStream>, TlsFacts)> {
        let address = tcp.peer_addr()?.ip().to_string();
        let (host, verify) = (
            self.tls.name.as_deref().unwrap_or(&address),
            self.tls.roots.is_some(),
        );
        let done = self.client.handshake(tcp, host, verify, None).await;
        done.map_err(|error| io::Error::new(error.kind(), format!("TLS with {host}: {error}")))
    }
}
