//! TLS of the sink: a certificate from files or one made for this run, and invalid ones that clients must refuse.
//!
//! The authority of made certificates exists as long as the sink, and its key never leaves the process.

use super::script::Flaw;
use crate::server::{Certificate, CertificateError, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

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
    /// The certificate or the key from the files.
    #[error(transparent)]
    Given(#[from] CertificateError),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Making(String),
}

/// The certificates of a sink. Cloning shares them.
#[derive(Debug, Clone)]
pub struct SinkTls {
    pub(super) mode: TlsMode,
    certificates: Arc<SinkCertificates>,
}

#[derive(Debug)]
struct SinkCertificates {
    authority: String,
    own: ServerTls,
    expired: ServerTls,
    self_signed: ServerTls,
    other_name: ServerTls,
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
        Self::new(mode, names, Some(&Certificate::from_pem(chain, key)?))
    }

    fn new(mode: TlsMode, names: &[String], own: Option<&Certificate>) -> Result<Self, SinkTlsError> {
        let authority = authority().map_err(made)?;
        let of = |names: &[String]| CertificateParams::new(names).map_err(made);
        let mut expired = of(names)?;
        expired.not_before = date_time_ymd(2000, 1, 1);
        expired.not_after = date_time_ymd(2000, 1, 2);
        let other = of(&[OTHER_NAME.to_owned()])?;
        let certificates = SinkCertificates {
            own: match own {
                Some(own) => ServerTls::new(own).map_err(made)?,
                None => issued(&of(names)?, Some(&authority))?,
            },
            expired: issued(&expired, Some(&authority))?,
            self_signed: issued(&of(names)?, None)?,
            other_name: issued(&other, Some(&authority))?,
            authority: authority.pem(),
        };
        Ok(Self {
            mode,
            certificates: Arc::new(certificates),
        })
    }

    /// The authority of the certificates made for this run, as PEM, for clients to trust.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.certificates.authority
    }

    /// TLS with the sink's own certificate, or with an invalid one.
    pub(super) fn shown(&self, flaw: Option<Flaw>) -> &ServerTls {
        match flaw {
            None => &self.certificates.own,
            Some(Flaw::Expired) => &self.certificates.expired,
            Some(Flaw::SelfSigned) => &self.certificates.self_signed,
            Some(Flaw::OtherName) => &self.certificates.other_name,
        }
    }
}

fn made(error: impl fmt::Display) -> SinkTlsError {
    SinkTlsError::Making(error.to_string())
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

/// TLS with a certificate by `authority`, or by itself.
fn issued(
    params: &CertificateParams,
    authority: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<ServerTls, SinkTlsError> {
    let key = KeyPair::generate().map_err(made)?;
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority),
        None => params.self_signed(&key),
    };
    let chain = certificate.map_err(made)?.pem();
    let certificate = Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes())?;
    ServerTls::new(&certificate).map_err(made)
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
        assert_eq!(
            error(read(&cert, &other)),
            "the key is not that of the certificate"
        );
        let bad = ["\u{fc}".to_owned()];
        assert!(error(SinkTls::generated(TlsMode::Implicit, &bad)).contains("made"));
    }
}
