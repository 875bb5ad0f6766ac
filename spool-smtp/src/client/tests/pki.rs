//! Certificates that are generated for a test run, and servers that use them.

use super::super::TrustRoots;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, OnceLock};

/// The certificate of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cert {
    /// For `localhost` and 127.0.0.1, from the authority of [`roots`].
    Good,
    OtherName,
    Expired,
    SelfSigned,
    /// The good certificate with another key.
    Stolen,
    /// For `host.example`, sent with its authority.
    Chain,
    /// X.509 of version 1.
    VersionOne,
    /// With an unknown critical extension.
    CriticalExtension,
}

struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    good: (CertificateDer<'static>, KeyPair),
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let good = issue(&names(&["localhost", "127.0.0.1"]), &authority);
        Pki { authority, good }
    })
}

fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn issue(
    params: &CertificateParams,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().der().clone(), key)
}

/// The authority of all certificates but the self-signed one.
pub(super) fn roots() -> TrustRoots {
    TrustRoots::from_pem(pki().authority.pem().as_bytes()).unwrap()
}

/// The authority's own certificate.
pub(super) fn authority() -> &'static [u8] {
    pki().authority.der()
}

/// The certificate that [`Cert::Good`] shows.
pub(super) fn good() -> &'static [u8] {
    &pki().good.0
}

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn shown(cert: Cert) -> (CertificateDer<'static>, Vec<u8>) {
    let pki = pki();
    let der = |(cert, key): (CertificateDer<'static>, KeyPair)| (cert, key.serialize_der());
    match cert {
        Cert::Good => (pki.good.0.clone(), pki.good.1.serialize_der()),
        Cert::OtherName => der(issue(&names(&["other.test"]), &pki.authority)),
        Cert::Chain => der(issue(&names(&["host.example"]), &pki.authority)),
        Cert::Expired => {
            let mut params = names(&["localhost", "127.0.0.1"]);
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2000, 1, 2);
            der(issue(&params, &pki.authority))
        }
        Cert::SelfSigned => {
            let key = KeyPair::generate().unwrap();
            let cert = names(&["localhost", "127.0.0.1"]).self_signed(&key).unwrap();
            (cert.der().clone(), key.serialize_der())
        }
        Cert::VersionOne => {
            let (cert, key) = issue(&names(&["localhost", "127.0.0.1"]), &pki.authority);
            (version_one(&cert).into(), key.serialize_der())
        }
        Cert::CriticalExtension => {
            let mut params = names(&["localhost", "127.0.0.1"]);
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
            der(issue(&params, &pki.authority))
        }
        Cert::Stolen => (pki.good.0.clone(), KeyPair::generate().unwrap().serialize_der()),
    }
}

/// The certificate without its version and its extensions, which invalidates its signature.
fn version_one(certificate: &[u8]) -> Vec<u8> {
    let (_, certificate, _) = element(certificate);
    let (_, mut tbs, rest) = element(certificate);
    let mut kept = Vec::new();
    while !tbs.is_empty() {
        let (tag, contents, after) = element(tbs);
        if !matches!(tag, 0xa0 | 0xa3) {
            kept.extend_from_slice(&sequence(tag, contents));
        }
        tbs = after;
    }
    sequence(0x30, &[&sequence(0x30, &kept), rest].concat())
}

/// The tag and the content of a DER element, and the bytes after it.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let digits = if der[1] < 0x80 {
        0
    } else {
        usize::from(der[1] & 0x7f)
    };
    let long = der[2..2 + digits]
        .iter()
        .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
    let length = if digits == 0 { usize::from(der[1]) } else { long };
    let (contents, rest) = der[2 + digits..].split_at(length);
    (der[0], contents, rest)
}

fn sequence(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], contents].concat()
}

/// A server of this certificate, for these versions of TLS.
pub(super) fn server(
    cert: Cert,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let shown_with_authority = cert == Cert::Chain;
    let (cert, key) = shown(cert);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
    let key = ring::sign::any_supported_type(&key).unwrap();
    let mut chain = vec![cert];
    if shown_with_authority {
        chain.push(pki().authority.der().clone());
    }
    let shows = Shows(Arc::new(CertifiedKey::new(chain, key)));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shows));
    Arc::new(config)
}
