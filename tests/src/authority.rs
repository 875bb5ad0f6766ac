//! A certificate authority made for one run, and files as servers and `client.tls_roots` want them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::{Path, PathBuf};

/// An authority, and the certificate of one server.
#[derive(Debug)]
pub struct Authority {
    /// The authority's own certificate.
    pub roots: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Authority {
    /// Writes its files into `dir`; the certificate is for the names and addresses in `names`.
    #[must_use]
    pub fn new(dir: &Path, names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of a name of its own: OpenSSL takes a certificate whose issuer has its own name for one that issued itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "spool tests authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(names).unwrap();
        let server = server.signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            roots: write("roots.pem", &authority.pem()),
            certificate: write("server.pem", &server.pem()),
            key: write("key.pem", &key.serialize_pem()),
        }
    }
}
