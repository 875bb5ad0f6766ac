//! An intake in memory, a clock, and certificates, for tests. Never used outside them.

use super::Certificate;
use rustls::crypto::ring;
use spool_core::{AddError, BoxFuture, Clock, Intake, Mail, MessageId, Timestamp};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The time of the paused runtime.
#[derive(Debug)]
pub(super) struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    pub(super) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp(0).after(self.0.elapsed())
    }

    fn now_and_steady(&self) -> (Timestamp, Duration) {
        (self.now(), self.0.elapsed())
    }
}

/// Stores the mail that it accepts.
#[derive(Debug, Default)]
pub(super) struct MemoryIntake {
    pub(super) mails: Arc<Mutex<Vec<Mail>>>,
    /// The answer to every MAIL and DATA.
    pub(super) admits: Option<AddError>,
    /// The answer to every message.
    pub(super) accepts: Option<AddError>,
    /// How long a message takes.
    pub(super) delay: Duration,
}

impl MemoryIntake {
    pub(super) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

impl Intake for MemoryIntake {
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>> {
        let (mails, delay, refusal) = (Arc::clone(&self.mails), self.delay, self.accepts.clone());
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            let mut mails = mails.lock().unwrap();
            mails.push(mail);
            Ok(vec![MessageId::from_u128(mails.len() as u128)])
        })
    }

    fn admit(&self, _size: u64) -> Result<(), AddError> {
        self.admits.clone().map_or(Ok(()), Err)
    }
}

/// A self-signed certificate for `localhost`, and a client that trusts only that.
pub(super) struct Pki {
    pem: String,
    key: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

/// The certificate that tests share.
pub(super) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(Pki::new)
}

impl Pki {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self {
            pem: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        }
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.pem.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// The client's part of a handshake.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
