//! TLS of the ingress: one configuration while the service runs, with a certificate that can be replaced.
//!
//! A handshake uses the certificate in force when it begins; open sessions keep theirs. Nothing here
//! reads a file or requests a client certificate.

use super::certificate::{Certificate, fingerprint};
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ProtocolVersion, ServerConfig, ServerConnection};
use spool_core::TlsSession;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The memory of a handshake beyond that of the session: rustls reads a message of up to 64 KiB from the peer. It is
/// charged until the handshake ends.
pub(super) const HANDSHAKE_MEMORY: u64 = 64 << 10;
/// How many bytes a session buffers while the client does not read. It gets only a few replies at once.
const SEND_BUFFER: usize = 32 << 10;

/// The TLS of the ingress. Cloning shares it, certificate and all.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    shown: Arc<CertificateInUse>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").finish()
    }
}

/// The certificate for every name that a client requests.
struct CertificateInUse(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for CertificateInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.write_str("CertificateInUse")
    }
}

impl ResolvesServerCert for CertificateInUse {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl ServerTls {
    /// TLS 1.2 and 1.3 with this certificate.
    ///
    /// # Errors
    /// Never with the provider that is built in; the text is that of rustls.
    pub fn new(certificate: &Certificate) -> Result<Self, String> {
        let shown = Arc::new(CertificateInUse(RwLock::new(certificate.certified_key())));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<CertificateInUse>::clone(&shown));
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            shown,
        })
    }

    /// New handshakes use `certificate` from now on.
    pub fn replace(&self, certificate: &Certificate) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certificate.certified_key();
    }

    /// The SHA-256 fingerprint of the current certificate, in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.shown.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server's part of a handshake over `stream`. The caller sets the time limit.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, TlsSession)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bounded = |session: &mut ServerConnection| session.set_buffer_limit(Some(SEND_BUFFER));
        let stream = self.acceptor.accept_with(stream, bounded).await?;
        let session = facts(stream.get_ref().1);
        Ok((stream, session))
    }
}

fn facts(connection: &ServerConnection) -> TlsSession {
    TlsSession {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(_) | None => "TLS",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .and_then(|suite| cipher(suite.suite()))
            .unwrap_or("unknown"),
    }
}

/// The name that IANA registered. rustls has other names for the suites of TLS 1.3.
fn cipher(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite.as_str()? {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        registered => registered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_negotiable_suite_has_its_registered_name() {
        for suite in ring::ALL_CIPHER_SUITES {
            let name = cipher(suite.suite()).unwrap();
            assert!(name.starts_with("TLS_"), "{name}");
        }
    }
}
