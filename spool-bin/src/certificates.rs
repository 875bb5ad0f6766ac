//! The certificate of the SMTP server: read at the start, periodically and on a reload, and replaced when the contents of its
//! files have changed.
//!
//! Contents are compared, not times: certbot and Kubernetes swap symbolic links, which a watch on a file does not see. A pair that
//! cannot be used never replaces one that can; open sessions keep the certificate that they began with.

use crate::config::CertificateFiles;
use crate::files;
use spool_core::{Clock, Timestamp};
use spool_smtp::server::{Certificate, ServerTls};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the files are read.
const POLL: Duration = Duration::from_secs(60);
/// How long before its expiry a certificate is warned of, and how often.
const SOON: Duration = Duration::from_secs(14 * DAY);
const AGAIN: Duration = Duration::from_secs(DAY);
const DAY: u64 = 86_400;
/// The largest file of certificates, and the largest file with a key.
const MAX_CHAIN: u64 = 1 << 20;
const MAX_KEY: u64 = 64 << 10;

/// Why a pair cannot be used, and which of its files has the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// `certificate` or `key`.
    pub(crate) key: &'static str,
    pub(crate) why: String,
}

/// Reads a pair of files, and checks that they belong together.
///
/// # Errors
/// Why they cannot be used, without any part of the key.
pub(crate) fn read(pair: &CertificateFiles) -> Result<Certificate, Unusable> {
    look(pair, &RandomState::new()).1
}

/// A hash of the contents of the files, to compare them; and the certificate.
fn look(pair: &CertificateFiles, hasher: &RandomState) -> (u64, Result<Certificate, Unusable>) {
    let chain = files::read(&pair.certificate, MAX_CHAIN);
    let key = files::read(&pair.key, MAX_KEY);
    let content = hasher.hash_one((pair, &chain, &key));
    let of = |key, path: &std::path::Path, why: &dyn std::fmt::Display| Unusable {
        key,
        why: format!("{}: {why}", path.display()),
    };
    let certificate = match (chain, key) {
        (Err(why), _) => Err(of("certificate", &pair.certificate, &why)),
        (_, Err(why)) => Err(of("key", &pair.key, &why)),
        (Ok(chain), Ok(key)) => Certificate::from_pem(&chain, &key).map_err(|error| {
            if error.is_of_key() {
                of("key", &pair.key, &error)
            } else {
                of("certificate", &pair.certificate, &error)
            }
        }),
    };
    (content, certificate)
}

/// The warning about a certificate that expires soon or has expired.
pub(crate) fn expiry(expires: Timestamp, now: Timestamp) -> Option<String> {
    if expires <= now {
        return Some(format!("the certificate expired at {expires}"));
    }
    let left = expires.since(now);
    (left < SOON).then(|| {
        format!(
            "the certificate expires at {expires}, in {} days",
            left.as_secs() / DAY
        )
    })
}

/// The certificate in force, and the state of its files.
pub(crate) struct Watched {
    tls: ServerTls,
    pair: CertificateFiles,
    hasher: RandomState,
    /// The contents of the files when they were last read.
    content: u64,
    expires: Timestamp,
    /// When the last warning of the expiry was logged.
    warned: Option<Timestamp>,
    clock: Arc<dyn Clock>,
}

impl Watched {
    /// Reads the pair.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn start(pair: CertificateFiles, clock: Arc<dyn Clock>) -> Result<Self, Unusable> {
        let hasher = RandomState::new();
        let (content, certificate) = look(&pair, &hasher);
        let certificate = certificate?;
        let tls = ServerTls::new(&certificate).map_err(|why| Unusable {
            key: "certificate",
            why,
        })?;
        let mut watched = Self {
            tls,
            pair,
            hasher,
            content,
            expires: certificate.expires(),
            warned: None,
            clock,
        };
        watched.tell(&certificate, "certificate read");
        watched.warn();
        Ok(watched)
    }

    /// The certificate for handshakes.
    pub(crate) fn tls(&self) -> ServerTls {
        self.tls.clone()
    }

    /// Reads the files each [`POLL`], and immediately when `pairs` changes, until `stopped` becomes true or its sender is
    /// dropped.
    pub(crate) async fn run(
        &mut self,
        mut pairs: watch::Receiver<CertificateFiles>,
        mut stopped: watch::Receiver<bool>,
    ) {
        loop {
            let asked = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                Ok(()) = pairs.changed() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let pair = pairs.borrow_and_update().clone();
            let hasher = self.hasher.clone();
            // A file system may be slow.
            let looked = tokio::task::spawn_blocking(move || (look(&pair, &hasher), pair)).await;
            if let Ok(((content, certificate), pair)) = looked {
                self.take(content, certificate, pair, asked);
            }
        }
    }

    /// Puts a pair in force if it is new and can be used. An error that was logged before is logged again only on a reload
    /// (`asked`).
    fn take(
        &mut self,
        content: u64,
        certificate: Result<Certificate, Unusable>,
        pair: CertificateFiles,
        asked: bool,
    ) {
        let new = content != self.content;
        self.content = content;
        self.pair = pair;
        match certificate {
            Ok(certificate) if new => {
                self.tls.replace(&certificate);
                self.expires = certificate.expires();
                self.warned = None;
                self.tell(&certificate, "certificate replaced");
            }
            Ok(_) => {}
            Err(Unusable { key, why }) if new || asked => {
                tracing::error!("listen.tls.{key}: {why}; the previous certificate stays in force");
            }
            Err(_) => {}
        }
        self.warn();
    }

    fn tell(&self, certificate: &Certificate, what: &str) {
        tracing::info!(
            file = %self.pair.certificate.display(), expires = %certificate.expires(),
            sha256 = certificate.fingerprint(), "{what}"
        );
    }

    fn warn(&mut self) {
        let now = self.clock.now();
        if self.warned.is_some_and(|last| now.since(last) < AGAIN) {
            return;
        }
        if let Some(text) = expiry(self.expires, now) {
            self.warned = Some(now);
            tracing::warn!("listen.tls.certificate: {text}");
        }
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
