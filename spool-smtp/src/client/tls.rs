//! The TLS handshake of a session, and what is known afterwards.
//!
//! Whether a certificate counts is for the caller to say. The handshake's own signature is checked in any case: without
//! it, not even the one certificate that was shown would mean anything.

use super::roots::TrustRoots;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CommonState, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What is known of a session's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFacts {
    version: &'static str,
    cipher: String,
    /// Whether the certificate is valid for the peer's name, or why not.
    pub(super) verified: Result<(), String>,
    /// SHA-256 of the peer's certificate.
    fingerprint: String,
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}, sha256:{}, ",
            self.version, self.cipher, self.fingerprint
        )?;
        match &self.verified {
            Ok(()) => f.write_str("verified"),
            Err(why) => write!(f, "not verified: {why}"),
        }
    }
}

/// What all handshakes of an agent share.
#[derive(Debug)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    roots: TrustRoots,
    authorities: OnceCell<Option<Arc<WebPkiServerVerifier>>>,
}

impl Tls {
    pub(super) fn new(roots: TrustRoots) -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            roots,
            authorities: OnceCell::new(),
        }
    }

    /// A handshake with the peer that is called `host`. With `insist`, only a certificate that is valid for that name
    /// will do.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        insist: bool,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), String> {
        let verifier = Arc::new(Verifier {
            authorities: self.authorities().await,
            algorithms: self.provider.signature_verification_algorithms,
            insist,
            verdict: Mutex::new(Err("no certificate was shown".to_owned())),
        });
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if insist => return Err(format!("no certificate can be valid for the name {host:?}")),
            Err(_) => tcp.peer_addr().map_err(|error| error.to_string())?.ip().into(),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier))
            .with_no_client_auth();
        // Open sessions are kept instead. A resumed one would show no certificate to record.
        config.resumption = Resumption::disabled();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(|error| error.to_string())?;
        let facts = facts(stream.get_ref().1, verifier.verdict());
        Ok((stream, facts))
    }

    /// The check against the trusted roots; `None` when there is not one of them.
    async fn authorities(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let (roots, provider) = (self.roots.clone(), Arc::clone(&self.provider));
        let load = || async {
            let build =
                move || WebPkiServerVerifier::builder_with_provider(Arc::new(roots.load()), provider).build();
            match tokio::task::spawn_blocking(build).await {
                Ok(Ok(verifier)) => Some(verifier),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no certificate can be verified");
                    None
                }
                Err(_) => None,
            }
        };
        self.authorities.get_or_init(load).await.clone()
    }
}

fn facts(connection: &CommonState, verified: Result<(), String>) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "TLS",
    };
    let suite = connection.negotiated_cipher_suite();
    // rustls has names of its own for the suites of TLS 1.3.
    let cipher = suite.map_or(String::new(), |suite| {
        format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
    });
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        version,
        cipher,
        verified,
        fingerprint: certificate.map_or(String::new(), |der| fingerprint(der)),
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, der);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Notes whether the certificate is valid, and refuses one that is not only when it has to.
#[derive(Debug)]
struct Verifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    insist: bool,
    verdict: Mutex<Result<(), String>>,
}

impl Verifier {
    fn verdict(&self) -> Result<(), String> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = match &self.authorities {
            Some(known) => known.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Err(Error::General("there are no trusted roots".to_owned())),
        };
        let verdict = checked.as_ref().map(drop).map_err(Error::to_string);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        match checked {
            Err(error) if self.insist => Err(error),
            Ok(_) | Err(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
