//! The TLS handshake of a session, and its result.
//!
//! The caller decides whether the certificate must be valid. If not, any certificate is accepted: such a session does not protect against
//! an active attacker, but the alternative would be plaintext. The signature of the handshake is checked in any case, if the algorithm of
//! the key is known.

use super::certificate_key::refutes;
use super::dane::Dane;
use super::roots::TrustRoots;
use crate::fingerprint::sha256_hex;
use crate::tls_names;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CommonState, DigitallySignedStruct, Error, SignatureScheme};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The properties of a session's TLS.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display)]
#[display("{suite}, sha256:{fingerprint}, {verdict}")]
pub(crate) struct TlsFacts {
    /// Protocol version and cipher suite.
    pub(crate) suite: String,
    /// SHA-256 of the peer's certificate.
    fingerprint: String,
    /// The result of checking the certificate.
    verdict: String,
}

/// The TLS configuration that all handshakes of an agent share.
#[derive(Debug)]
pub(crate) struct TlsClient {
    provider: Arc<CryptoProvider>,
    roots: TrustRoots,
    authorities: OnceCell<Option<Arc<WebPkiServerVerifier>>>,
}

impl TlsClient {
    pub(crate) fn new(roots: TrustRoots) -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            roots,
            authorities: OnceCell::new(),
        }
    }

    /// A handshake with `host`, a name or an address. With `verify` the certificate must be valid for it; with `dane` it must match one of
    /// the records.
    ///
    /// # Errors
    /// `InvalidInput` if `host` is neither, `InvalidData` if either side refused the handshake, and errors of the connection.
    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        verify: bool,
        dane: Option<Arc<Dane>>,
    ) -> io::Result<(TlsStream<TcpStream>, TlsFacts)> {
        let verifier = Arc::new(Verifier {
            authorities: self.authorities().await,
            provider: Arc::clone(&self.provider),
            verify,
            dane,
            verdict: OnceLock::new(),
        });
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if verify => {
                let why = format!("no certificate can be valid for the name {host:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            Err(_) => tcp.peer_addr()?.ip().into(),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier))
            .with_no_client_auth();
        // A resumed session has no certificate to record, and open sessions are kept anyway.
        config.resumption = Resumption::disabled();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let facts = facts(stream.get_ref().1, &verifier);
        Ok((stream, facts))
    }

    /// The verifier for the trusted roots; `None` if there are none.
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

fn facts(connection: &CommonState, verifier: &Verifier) -> TlsFacts {
    let (version, cipher) = tls_names::of(connection);
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let verdict = verifier.verdict.get().map(String::as_str);
    TlsFacts {
        suite: format!("{version} {}", cipher.unwrap_or_default()),
        fingerprint: certificate.map_or(String::new(), |der| sha256_hex(der)),
        verdict: verdict
            .unwrap_or("not verified: no certificate was shown")
            .to_owned(),
    }
}

/// Stores whether the certificate is valid, and refuses an invalid one only if it must be valid.
#[derive(Debug)]
struct Verifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    verify: bool,
    dane: Option<Arc<Dane>>,
    /// The result of checking the certificate, for the record.
    verdict: OnceLock<String>,
}

impl Verifier {
    /// Accepts a certificate that webpki cannot read, or whose key it does not support, if it need not be valid.
    fn or_unsupported_key(
        &self,
        checked: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let strict = self.verify || self.dane.as_ref().is_some_and(|dane| dane.authenticates());
        if strict
            || !matches!(checked, Err(Error::InvalidCertificate(_)))
            || refutes(
                certificate,
                message,
                signature,
                &self.provider.signature_verification_algorithms,
            )
        {
            return checked;
        }
        Ok(HandshakeSignatureValid::assertion())
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
        let dane = match &self.dane {
            None => None,
            Some(dane) if !dane.authenticates() => Some("dane without a usable record".to_owned()),
            Some(dane) => {
                let record = dane.check(end_entity, intermediates, now, &self.provider)?;
                Some(format!("dane {record}"))
            }
        };
        let _ = self.verdict.set(match (&checked, dane) {
            (Ok(_), None) => "verified".to_owned(),
            (Ok(_), Some(dane)) => format!("verified, {dane}"),
            (Err(why), None) => format!("not verified: {why}"),
            // The trusted roots do not count then.
            (Err(_), Some(dane)) => dane,
        });
        match checked {
            Err(error) if self.verify => Err(error),
            Ok(_) | Err(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        );
        self.or_unsupported_key(checked, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        );
        self.or_unsupported_key(checked, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
