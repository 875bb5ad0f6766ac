//! The cache of open sessions: it returns a cached session or opens one, and closes idle sessions.

use super::config::SmtpConfig;
use super::connect::{addresses, connect};
use super::connect_error::ConnectError;
use super::dead_hosts::DeadHosts;
use super::host_memory::HostMemory;
use super::resolve::Routes;
use super::session::Session;
use super::session_key::SessionRequest;
use super::session_ledger::{ConnectionPermit, SessionGrant, SessionLedger};
use super::session_setup::SessionSetup;
use super::tls::TlsClient;
use crate::deadline::from_now;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most addresses of a host that may accept a connection and refuse the session before the host is passed over.
const MAX_REFUSALS: usize = 3;

fn too_late() -> ConnectError {
    let error = "connecting was given up: the attempt's time was over";
    ConnectError::Failed(error.to_owned())
}

/// All sessions of one agent, and what was learned of hosts.
pub(super) struct SessionPool {
    pub(super) config: SmtpConfig,
    pub(super) routes: Routes,
    pub(super) ledger: Arc<SessionLedger<Session>>,
    tls: TlsClient,
    /// Hosts whose TLS failed, with the reason: they are sent mail in plaintext for a while.
    pub(super) plaintext: HostMemory<String>,
    /// Hosts at which BDAT failed, with the reason: they are sent DATA for a while.
    pub(super) no_chunking: HostMemory<String>,
    /// The most recipients of a transaction.
    pub(super) recipients: HostMemory<usize>,
    dead: DeadHosts,
}

impl SessionPool {
    pub(super) fn new(config: SmtpConfig, routes: Routes) -> Arc<Self> {
        Arc::new(Self {
            ledger: SessionLedger::new(config.connections),
            tls: TlsClient::new(config.tls_roots.clone()),
            plaintext: HostMemory::default(),
            no_chunking: HostMemory::default(),
            recipients: HostMemory::default(),
            dead: DeadHosts::default(),
            config,
            routes,
        })
    }

    /// A session for `request`, within the limits: a cached one, or with `fresh` always a new one.
    pub(super) async fn session(
        &self,
        request: &SessionRequest<'_>,
        fresh: bool,
    ) -> Result<Session, ConnectError> {
        let here = std::thread::current().id();
        let give_up = from_now(self.config.connect_timeout).min(request.end);
        loop {
            let preferred = |session: &Session| session.thread == here;
            match self.ledger.acquire(request, fresh, preferred, give_up).await {
                Some(SessionGrant::Cached(session)) => {
                    let kept = session.parked_at.elapsed() < self.config.idle_timeout;
                    if kept && !session.wire.has_sent_or_closed() {
                        session.wire.until(request.end);
                        return Ok(session);
                    }
                }
                // Boxed, because the future takes kilobytes and most attempts find a cached session.
                Some(SessionGrant::New(permit)) => {
                    return Box::pin(self.open(request, permit)).await;
                }
                None => {
                    let error = "no connection was closed in time to make room for another one";
                    return Err(ConnectError::Failed(error.to_owned()));
                }
            }
        }
    }

    /// Opens a session with TLS as the policy requires. If TLS fails and the policy allows it, opens another one in plaintext.
    async fn open(
        &self,
        request: &SessionRequest<'_>,
        permit: ConnectionPermit<Session>,
    ) -> Result<Session, ConnectError> {
        let hop = &request.key.hop;
        let may_fall_back = request.key.may_fall_back(&self.config);
        let known = self.plaintext.get(hop).filter(|_| may_fall_back);
        let mut session = match self.connect(request, known).await {
            Err(ConnectError::TlsFailed(result)) if may_fall_back => {
                let reason = result.to_string();
                // On a new connection, because the state of this one is unknown.
                let session = self.connect(request, Some(reason.clone())).await?;
                tracing::info!(peer = %hop, reason, "TLS failed; plaintext for a while");
                self.plaintext.note(hop, reason, self.config.plaintext_memory);
                session
            }
            other => other?,
        };
        self.ledger.note_tls(&request.key, session.protection.record());
        session.permit = Some(permit);
        Ok(session)
    }

    /// Opens one session, unless the last connections to the host have failed.
    async fn connect(
        &self,
        request: &SessionRequest<'_>,
        plaintext: Option<String>,
    ) -> Result<Session, ConnectError> {
        let hop = &request.key.hop;
        let dead = |why| ConnectError::Failed(format!("not tried again so soon: {why}"));
        self.dead.may_try(hop).map_err(dead)?;
        let opened = self.open_once(request, plaintext).await;
        match &opened {
            Err(ConnectError::Failed(why)) => self.dead.failed(hop, why),
            Ok(_) | Err(_) => self.dead.reached(hop),
        }
        opened
    }

    /// Opens a session with the first address that allows one. If an address accepts the connection and refuses the session, the next one
    /// is tried (RFC 5321 section 5.1).
    async fn open_once(
        &self,
        request: &SessionRequest<'_>,
        plaintext: Option<String>,
    ) -> Result<Session, ConnectError> {
        let found = timeout_at(request.end, addresses(request.target, &self.routes)).await;
        let mut addresses = found.unwrap_or_else(|_| Err(too_late()))?;
        let mut refusal = None;
        for _ in 0..MAX_REFUSALS {
            let connected = connect(&addresses, request.key.source, &self.config);
            let connected = timeout_at(request.end, connected).await;
            let (tcp, address) = match connected.unwrap_or_else(|_| Err(too_late())) {
                Ok(connected) => connected,
                // The reply of one address says more than that others cannot be reached.
                Err(error) => return Err(refusal.unwrap_or(error)),
            };
            let setup = SessionSetup {
                request,
                config: &self.config,
                tls: &self.tls,
                plaintext: plaintext.clone(),
            };
            match setup.open(tcp).await {
                Ok(session) => return Ok(session),
                Err(error) if error.may_depend_on_the_address() => {
                    tracing::debug!(peer = %request.key.hop, %address, %error, "no session with this address");
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
            addresses.retain(|other| *other != address);
            if addresses.is_empty() {
                break;
            }
        }
        Err(refusal.unwrap_or_else(too_late))
    }

    /// Keeps a session for the next message, or ends it if it has carried as many messages as it may.
    pub(super) fn park(self: &Arc<Self>, mut session: Session) {
        if session.is_spent(&self.config) || self.config.idle_timeout.is_zero() {
            tokio::spawn(session.quit());
            return;
        }
        session.parked_at = Instant::now();
        let key = session.key.clone();
        if self.ledger.park(&key, session) {
            tokio::spawn(sweep(Sweeper(Some(Arc::clone(self)))));
        }
    }

    /// Opens sessions for `request` until `sessions` are open, as far as the limits allow, and keeps them.
    pub(super) async fn warm(
        self: &Arc<Self>,
        request: &SessionRequest<'_>,
        sessions: usize,
    ) -> Result<(), ConnectError> {
        // All are held until the last one is open, so that none is returned twice.
        let mut held = Vec::new();
        let mut result = Ok(());
        for _ in 0..sessions.min(self.ledger.limit(request)) {
            match self.session(request, false).await {
                Ok(session) => held.push(session),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        held.into_iter().for_each(|session| self.park(session));
        result
    }

    /// Ends every idle session.
    pub(super) async fn close(&self) {
        let (sessions, _) = self.ledger.take_idle(|_| true);
        let quits = sessions.into_iter().map(|session| tokio::spawn(session.quit()));
        for quit in quits.collect::<Vec<_>>() {
            let _ = quit.await;
        }
    }
}

/// The guard of the task that closes idle sessions. If the runtime ends before the task, the next session that is kept starts a new one.
struct Sweeper(Option<Arc<SessionPool>>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.ledger.sweep_ended();
        }
    }
}

/// Closes idle sessions; ends when none is left.
async fn sweep(mut sweeper: Sweeper) {
    while let Some(pool) = &sweeper.0 {
        let idle_timeout = pool.config.idle_timeout;
        tokio::time::sleep(idle_timeout.max(Duration::from_millis(10)) / 2).await;
        let (sessions, others) = pool
            .ledger
            .take_idle(|session| session.parked_at.elapsed() >= idle_timeout);
        for session in sessions {
            tokio::spawn(session.quit());
        }
        if !others {
            sweeper.0 = None;
        }
    }
}
