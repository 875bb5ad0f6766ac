//! The mock SMTP sink: accepts and discards every message, or behaves as a script says.
//!
//! It shares no code that reads or writes SMTP with the ingress, so that each checks the other. It is lenient, uses bounded memory for a
//! connection, and little CPU, because it runs on the machine that is measured.

mod auth;
mod chunking;
mod data;
mod ledger;
mod message;
mod script;
mod session;
mod stage_reply;
mod starttls;
mod text;
mod tls;

pub use ledger::TAG_HEADER;
pub use script::Script;
pub use tls::{SinkTls, SinkTlsError, TlsMode};

use ledger::SinkLedger;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How a sink behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkConfig {
    /// Its script; the empty one accepts everything.
    pub script: Script,
    /// The file for a JSON line about each accepted message, written before the reply.
    pub ledger: Option<PathBuf>,
    /// The largest message in bytes; a larger one is answered 552.
    pub message_size: u64,
    /// A connection without input for this time is closed.
    pub idle_timeout: Duration,
    /// TLS; `None`: not offered.
    pub tls: Option<SinkTls>,
    /// Name and password of the one user who may send, by AUTH; `None`: everybody may, and AUTH is not offered.
    pub login: Option<(String, String)>,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            script: Script::default(),
            ledger: None,
            message_size: 1 << 30,
            idle_timeout: Duration::from_secs(600),
            tls: None,
            login: None,
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct SinkCounts {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Messages accepted.
    pub messages: AtomicU64,
    /// Bytes of their bodies.
    pub bytes: AtomicU64,
    open: AtomicUsize,
}

/// The state that sessions share.
#[derive(Debug)]
struct SinkState {
    config: SinkConfig,
    ledger: Option<SinkLedger>,
    counts: Arc<SinkCounts>,
    memory: script::ScriptCounters,
}

/// A sink that listens.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
    shared: Arc<SinkState>,
}

impl Sink {
    /// Listens on `address`; connections wait until [`Sink::run`].
    ///
    /// # Errors
    /// When the address is taken or the ledger cannot be opened.
    pub async fn bind(address: SocketAddr, config: SinkConfig) -> io::Result<Self> {
        let ledger = config.ledger.as_deref().map(SinkLedger::open).transpose()?;
        let listener = TcpListener::bind(address).await?;
        let shared = SinkState {
            config,
            ledger,
            counts: Arc::default(),
            memory: script::ScriptCounters::default(),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
        })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Its counts, which can be read at any time.
    #[must_use]
    pub fn counts(&self) -> Arc<SinkCounts> {
        Arc::clone(&self.shared.counts)
    }

    /// Accepts connections until `shutdown` becomes true or its sender is dropped. Each session is a task of this runtime.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let sessions_see = shutdown.clone();
        let serve = |stream| {
            let (shared, mut shutdown) = (Arc::clone(&self.shared), sessions_see.clone());
            tokio::spawn(async move {
                shared.counts.connections.fetch_add(1, Ordering::Relaxed);
                let open = shared.counts.open.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::select! {
                    _ = shutdown.wait_for(|stop| *stop) => {}
                    ended = session::serve(stream, &shared, open) => {
                        if let Err(error) = ended {
                            tracing::debug!(%error, "a connection broke");
                        }
                    }
                }
                shared.counts.open.fetch_sub(1, Ordering::Relaxed);
            });
        };
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => serve(stream),
                    Err(error) => {
                        tracing::warn!(%error, "the sink cannot accept a connection");
                        // Probably out of descriptors: a retry without a pause would only use CPU.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        };
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = accept => {}
        }
    }
}

#[cfg(test)]
mod tests;
