//! `[listen]` beside its limits: implicit TLS, the certificate, and where proxies speak. The files are named here and read elsewhere.

use super::reader::{Section, parsed, text};
use super::{CertificateFiles, Config};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `listen.tls`: both files, or none.
pub(super) fn tls(listen: &Section<'_, '_>) -> Option<CertificateFiles> {
    let section = listen.section("tls");
    let [certificate, key] = ["certificate", "key"].map(|key| section.get(key, String::new(), text));
    let pair = match (certificate.is_empty(), key.is_empty()) {
        (true, true) => None,
        (false, false) => Some(CertificateFiles {
            certificate: PathBuf::from(certificate),
            key: PathBuf::from(key),
        }),
        (given, _) => {
            let (given, missing) = if given {
                ("key", "certificate")
            } else {
                ("certificate", "key")
            };
            if let Some(place) = section.place(given) {
                section.problem(given, place, &format!("needs a {missing} beside it"));
            }
            None
        }
    };
    section.end();
    pair
}

/// `listen.smtps`, which needs a certificate.
pub(super) fn smtps(listen: &Section<'_, '_>, tls: Option<&CertificateFiles>) -> Vec<SocketAddr> {
    let smtps = listen.list("smtps", Vec::new(), parsed);
    if let Some(place) = listen
        .place("smtps")
        .filter(|_| tls.is_none() && !smtps.is_empty())
    {
        listen.problem("smtps", place, "needs listen.tls.certificate and listen.tls.key");
    }
    smtps
}

/// Why `listen.proxy_protocol` cannot be as it is: every listener in it must be there, and somebody must be allowed to speak.
pub(super) fn proxy_problem(config: &Config) -> Option<String> {
    let mut listeners = config.proxy_protocol.iter();
    let stray = listeners.find(|address| !config.smtp.contains(address) && !config.smtps.contains(address));
    if let Some(address) = stray {
        return Some(format!(
            "{address} stands neither in listen.smtp nor in listen.smtps"
        ));
    }
    let nobody = !config.proxy_protocol.is_empty() && config.proxies.is_empty();
    nobody.then(|| "needs relay.proxies: nobody else may connect there".to_owned())
}
