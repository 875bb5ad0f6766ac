//! Reads `[listen]` without its limits: addresses, the certificate, and listeners behind proxies. Files are named and not read.

use super::read::{or_empty, parsed, path};
use super::reader::TableReader;
use super::settings::{CertificateFiles, Config};
use derive_more::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use toml::de::DeValue;

/// An item of `listen.smtp`.
#[derive(Debug, Clone, PartialEq, Eq, Display)]
pub(crate) enum SmtpAddress {
    Tcp(SocketAddr),
    /// The file of a Unix socket, written `unix:/path`.
    #[display("unix:{}", _0.display())]
    Unix(PathBuf),
}

/// The most bytes of the path of a Unix socket in the system.
const MAX_SOCKET_PATH: usize = 107;

impl FromStr for SmtpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("unix:") else {
            let address = text.parse().map_err(|error| format!("{error}"))?;
            return Ok(Self::Tcp(address));
        };
        match path {
            path if !path.starts_with('/') || path.contains('\0') => {
                Err("the path of a Unix socket is absolute, as in unix:/run/spool/submission.sock".to_owned())
            }
            path if path.len() > MAX_SOCKET_PATH => Err(format!(
                "the path of a Unix socket has at most {MAX_SOCKET_PATH} bytes"
            )),
            path => Ok(Self::Unix(path.into())),
        }
    }
}

/// The sockets and the socket files of a list.
pub(crate) fn split(all: Vec<SmtpAddress>) -> (Vec<SocketAddr>, Vec<PathBuf>) {
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for address in all {
        match address {
            SmtpAddress::Tcp(address) => tcp.push(address),
            SmtpAddress::Unix(path) => unix.push(path),
        }
    }
    (tcp, unix)
}

/// `relay.drop_dir`: absolute, because programs run in any directory.
pub(super) fn drop_dir(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = path(value)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("{}: must be an absolute path", path.display())),
    }
}

/// `listen.tls`: both files, or none.
pub(super) fn tls(listen: &TableReader<'_>) -> Option<CertificateFiles> {
    let section = listen.section("tls");
    match ["certificate", "key"].map(|key| section.get(key, or_empty(path))) {
        [None, None] => return None,
        [Some(certificate), Some(key)] => return Some(CertificateFiles { certificate, key }),
        [Some(_), None] => section.problem("certificate", "needs a key beside it"),
        [None, Some(_)] => section.problem("key", "needs a certificate beside it"),
    }
    None
}

/// `listen.smtps`, which needs a certificate.
pub(super) fn smtps(listen: &TableReader<'_>, tls: Option<&CertificateFiles>) -> Vec<SocketAddr> {
    let smtps = listen.list("smtps", parsed);
    if tls.is_none() && !smtps.is_empty() {
        listen.problem("smtps", "needs listen.tls.certificate and listen.tls.key");
    }
    smtps
}

/// Why `listen.proxy_protocol` is wrong: every listener in it must exist, and a proxy must be allowed.
pub(crate) fn proxy_problem(config: &Config) -> Option<String> {
    let mut listeners = config.proxy_protocol.iter();
    let stray = listeners.find(|address| !config.smtp.contains(address) && !config.smtps.contains(address));
    if let Some(address) = stray {
        return Some(format!("{address} is neither in listen.smtp nor in listen.smtps"));
    }
    let nobody = !config.proxy_protocol.is_empty() && config.server.proxies.is_empty();
    nobody.then(|| "needs relay.proxies: only proxies may connect there".to_owned())
}
