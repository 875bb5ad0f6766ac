//! TLS of the sink: a certificate from files or one made for this run, and invalid ones that clients must refuse.
//!
//! The authority of made certificates exists as long as the sink, and its key never leaves the process.

use super::script::Flaw;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// A name that belongs to no sink (RFC 6761).
const OTHER_NAME: &str = "other.invalid";

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// After STARTTLS (RFC 3207).
    StartTls,
    /// Before the greeting (RFC 8314).
    Implicit,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkTlsError {
    /// The file of certificates.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// The file of the key.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// A certificate could not be made, or does not fit its key.
    #[error("{0}")]
    Making(String),
}

/// The certificates of a sink. Cloning shares them.
#[derive(Clone)]
pub struct SinkTls {
    mode: TlsMode,
    shown: Arc<SinkCertificates>,
}

struct SinkCertificates {
    authority: String,
    own: TlsAcceptor,
    expired: TlsAcceptor,
    self_signed: TlsAcceptor,
    other_name: TlsAcceptor,
}

impl fmt::Debug for SinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SinkTls").field(&self.mode).finish()
    }
}

impl SinkTls {
    /// With a certificate for `names` (hosts and addresses), made for this run.
    ///
    /// # Errors
    /// When a name is not valid, or no certificate can be made.
    pub fn generated(mode: TlsMode, names: &[String]) -> Result<Self, SinkTlsError> {
        Self::new(mode, names, None)
    }

    /// With the certificates in `chain`, the sink's own first, and its `key`, both PEM. Invalid ones are for `names`.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together, and as [`SinkTls::generated`].
    pub fn from_pem(mode: TlsMode, names: &[String], chain: &[u8], key: &[u8]) -> Result<Self, SinkTlsError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SinkTlsError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            let why = "there is no certificate in it";
            return Err(SinkTlsError::Certificate(why.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| SinkTlsError::Key(error.to_string()))?;
        Self::new(mode, names, Some((chain, key)))
    }

    fn new(
        mode: TlsMode,
        names: &[String],
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, SinkTlsError> {
        let authority = authority().map_err(made)?;
        let of = |names: &[String]| CertificateParams::new(names).map_err(made);
        let mut expired = of(names)?;
        expired.not_before = date_time_ymd(2000, 1, 1);
        expired.not_after = date_time_ymd(2000, 1, 2);
        let other = of(&[OTHER_NAME.to_owned()])?;
        let shown = SinkCertificates {
            own: match own {
                Some((chain, key)) => acceptor(chain, key)?,
                None => issued(&of(names)?, Some(&authority))?,
            },
            expired: issued(&expired, Some(&authority))?,
            self_signed: issued(&of(names)?, None)?,
            other_name: issued(&other, Some(&authority))?,
            authority: authority.pem(),
        };
        Ok(Self {
            mode,
            shown: Arc::new(shown),
        })
    }

    /// The authority of the certificates made for this run, as PEM, for clients to trust.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.shown.authority
    }

    pub(super) const fn mode(&self) -> TlsMode {
        self.mode
    }

    /// The acceptor for a handshake with the sink's own certificate, or with an invalid one.
    pub(super) fn acceptor(&self, flaw: Option<Flaw>) -> &TlsAcceptor {
        match flaw {
            None => &self.shown.own,
            Some(Flaw::Expired) => &self.shown.expired,
            Some(Flaw::SelfSigned) => &self.shown.self_signed,
            Some(Flaw::OtherName) => &self.shown.other_name,
        }
    }
}

fn made(error: impl fmt::Display) -> SinkTlsError {
    SinkTlsError::Making(format!("no certificate can be made: {error}"))
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // It has its own name, so that a self-signed certificate cannot appear to be issued by it.
    params
        .distinguished_name
        .push(DnType::CommonName, "spool sink authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate by `authority`, or by itself.
fn issued(
    params: &CertificateParams,
    authority: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<TlsAcceptor, SinkTlsError> {
    let key = KeyPair::generate().map_err(made)?;
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority),
        None => params.self_signed(&key),
    };
    let certificate = certificate.map_err(made)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    acceptor(vec![certificate.der().clone()], key.into())
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, SinkTlsError> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| SinkTlsError::Making(format!("certificate and key cannot be used: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(made: Result<SinkTls, SinkTlsError>) -> String {
        made.err().unwrap().to_string()
    }

    #[test]
    fn files_that_are_of_no_use_are_refused_with_the_reason() {
        let names = ["localhost".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let read = |cert: &str, key: &str| {
            SinkTls::from_pem(TlsMode::StartTls, &names, cert.as_bytes(), key.as_bytes())
        };
        assert!(read(&cert, &key).is_ok());
        assert!(error(read("", &key)).contains("no certificate in it"));
        assert!(error(read(&cert, "x")).starts_with("the key cannot be used"));
        assert!(error(read(&cert, &other)).contains("cannot be used"));
        let bad = ["\u{fc}".to_owned()];
        assert!(error(SinkTls::generated(TlsMode::Implicit, &bad)).contains("made"));
    }
}
