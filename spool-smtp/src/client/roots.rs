//! The certificate authorities that a `verify` session trusts. They are read once, for the first handshake.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// The certificate authorities that certificates are checked against.
#[derive(Debug, Clone, Default)]
pub enum TrustRoots {
    /// Those of the system, or those in SSL_CERT_FILE and SSL_CERT_DIR.
    #[default]
    System,
    /// Only these, as DER.
    Only(Vec<CertificateDer<'static>>),
}

/// Why a file of certificate authorities cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustRootsError {
    /// It is not PEM, or truncated.
    #[error("not a file of PEM certificates: {0}")]
    Pem(String),
    /// It has no certificate.
    #[error("there is no certificate in it")]
    Empty,
    /// A certificate that cannot be read.
    #[error("certificate {number} cannot be used: {reason}")]
    Certificate {
        /// The number of the certificate, from 1.
        number: usize,
        /// The reason.
        reason: String,
    },
}

impl TrustRoots {
    /// Only the certificates of a PEM file.
    ///
    /// # Errors
    /// [`TrustRootsError`] if one of them cannot be used, or there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustRootsError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TrustRootsError::Pem(error.to_string()))?;
        if certificates.is_empty() {
            return Err(TrustRootsError::Empty);
        }
        let mut store = RootCertStore::empty();
        for (number, certificate) in (1..).zip(&certificates) {
            store
                .add(certificate.clone())
                .map_err(|error| TrustRootsError::Certificate {
                    number,
                    reason: error.to_string(),
                })?;
        }
        Ok(Self::Only(certificates))
    }

    /// Loads the roots. It reads files and blocks.
    pub(super) fn load(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let (usable, unusable) = match self {
            Self::Only(certificates) => store.add_parsable_certificates(certificates.iter().cloned()),
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                for error in found.errors {
                    tracing::warn!(%error, "trusted roots of the machine");
                }
                store.add_parsable_certificates(found.certs)
            }
        };
        tracing::debug!(usable, unusable, "trusted roots");
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_with_its_place() {
        let good = rcgen::generate_simple_self_signed(["a.test".to_owned()])
            .unwrap()
            .cert
            .pem();
        assert!(TrustRoots::from_pem(good.as_bytes()).is_ok());
        assert_eq!(TrustRoots::from_pem(b"").err(), Some(TrustRootsError::Empty));
        let bad = format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let error = TrustRoots::from_pem(bad.as_bytes()).err().unwrap();
        assert!(
            matches!(error, TrustRootsError::Certificate { number: 2, .. }),
            "{error}"
        );
        let cut = good.get(..good.len() / 2).unwrap();
        assert!(matches!(
            TrustRoots::from_pem(cut.as_bytes()),
            Err(TrustRootsError::Pem(_))
        ));
    }
}
