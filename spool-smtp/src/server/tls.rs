//! TLS of the ingress: one configuration while the service runs, with a certificate that can be replaced.
//!
//! A handshake uses the certificate in force when it begins; open sessions keep theirs. Nothing here
//! reads a file or requests a client certificate.

use super::certificate::{Certificate, fingerprint};
use crate::hidden::Hidden;
use crate::tls_names;
use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use spool_core::TlsSession;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The memory of a handshake beyond that of the session: rustls reads a message of up to 64 KiB from the peer. It is
/// charged until the handshake ends.
pub(super) const HANDSHAKE_MEMORY: u64 = 64 << 10;
/// How many bytes a session buffers while the client does not read. It gets only a few replies at once.
const SEND_BUFFER: usize = 32 << 10;

/// The TLS of a server, which is the ingress or the sink. Cloning shares it, certificate and all.
#[derive(Debug, Clone)]
pub struct ServerTls {
    acceptor: Hidden<TlsAcceptor>,
    shown: Arc<CertificateInUse>,
}

/// The certificate for every name that a client requests.
#[derive(Debug)]
struct CertificateInUse(Hidden<RwLock<Arc<CertifiedKey>>>);

impl ResolvesServerCert for CertificateInUse {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.0.read()))
    }
}

impl ServerTls {
    /// TLS 1.2 and 1.3 with this certificate.
    ///
    /// # Errors
    /// Never with the provider that is built in; the text is that of rustls.
    pub fn new(certificate: &Certificate) -> Result<Self, String> {
        let shown = Arc::new(CertificateInUse(Hidden(RwLock::new(Arc::clone(
            &certificate.key.0,
        )))));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<CertificateInUse>::clone(&shown));
        Ok(Self {
            acceptor: Hidden(TlsAcceptor::from(Arc::new(config))),
            shown,
        })
    }

    /// New handshakes use `certificate` from now on.
    pub fn replace(&self, certificate: &Certificate) {
        *self.shown.0.0.write() = Arc::clone(&certificate.key.0);
    }

    /// The SHA-256 fingerprint of the current certificate, in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.shown.0.0.read())
    }

    /// The server's part of a handshake over `stream`. The caller sets the time limit.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, TlsSession)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bounded = |session: &mut ServerConnection| session.set_buffer_limit(Some(SEND_BUFFER));
        let stream = self.acceptor.0.accept_with(stream, bounded).await?;
        let (version, cipher) = tls_names::of(stream.get_ref().1);
        let session = TlsSession {
            version,
            cipher: cipher.unwrap_or("unknown"),
        };
        Ok((stream, session))
    }
}
