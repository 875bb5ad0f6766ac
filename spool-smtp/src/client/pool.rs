//! The cache of open sessions: it returns a cached session or opens one, and closes idle sessions.

use super::chunking::CHUNKING_PAUSE;
use super::config::SmtpConfig;
use super::connect::{addresses, connect};
use super::connect_error::{ConnectError, SessionError};
use super::dead_hosts::DeadHosts;
use super::peer_memory::PeerMemory;
use super::recipient_limits::RecipientLimits;
use super::resolve::{Routes, Target};
use super::session::Session;
use super::session_key::SessionRequest;
use super::session_ledger::{ConnectionPermit, SessionGrant, SessionLedger};
use super::session_setup::SessionSetup;
use super::snapshot::PoolSnapshot;
use super::tls::TlsClient;
use spool_core::NextHop;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most addresses of a host that may accept a connection and refuse the session before the host is passed over.
const MAX_REFUSALS: usize = 3;

fn too_late() -> ConnectError {
    let error = "connecting was given up: the attempt's time was over";
    ConnectError::Failed(error.to_owned())
}

/// All sessions of one agent.
pub(super) struct SessionPool {
    config: Arc<SmtpConfig>,
    routes: Arc<Routes>,
    ledger: Arc<SessionLedger<Session>>,
    tls: TlsClient,
    plaintext: PeerMemory,
    no_chunking: PeerMemory,
    recipients: RecipientLimits,
    dead: DeadHosts,
}

impl SessionPool {
    pub(super) fn new(config: Arc<SmtpConfig>, routes: Arc<Routes>) -> Arc<Self> {
        Arc::new(Self {
            ledger: SessionLedger::new(config.connections),
            tls: TlsClient::new(config.tls_roots.clone()),
            plaintext: PeerMemory::default(),
            no_chunking: PeerMemory::default(),
            recipients: RecipientLimits::default(),
            dead: DeadHosts::default(),
            config,
            routes,
        })
    }

    /// A session for `request`, within the limits: a cached one, or with `fresh` always a new one. It may be used until `end`.
    pub(super) async fn session(
        &self,
        request: &SessionRequest,
        target: &Target,
        fresh: bool,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let here = std::thread::current().id();
        let give_up = (Instant::now() + self.config.connect_timeout).min(end);
        loop {
            let preferred = |session: &Session| session.thread == here;
            match self.ledger.acquire(request, fresh, preferred, give_up).await {
                Some(SessionGrant::Cached(session)) => {
                    let kept = session.parked_at.elapsed() < self.config.idle_timeout;
                    if kept && !session.wire.has_sent_or_closed() {
                        session.wire.until(end);
                        return Ok(session);
                    }
                }
                // Boxed, because the future takes kilobytes and most attempts find a cached session.
                Some(SessionGrant::New(permit)) => {
                    return Box::pin(self.open(request, target, permit, end)).await;
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
        request: &SessionRequest,
        target: &Target,
        permit: ConnectionPermit<Session>,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let hop = &request.key.hop;
        let may_fall_back = request.key.may_fall_back(&self.config);
        let known = self.plaintext.reason(hop).filter(|_| may_fall_back);
        let mut session = match self.connect(request, target, known, end).await {
            Ok(session) => session,
            Err(SessionError {
                error,
                tls_failed: true,
            }) if may_fall_back => {
                let reason = error.to_string();
                // On a new connection, because the state of this one is unknown.
                let again = self.connect(request, target, Some(reason.clone()), end).await;
                let session = again.map_err(|failed| failed.error)?;
                tracing::info!(peer = %hop, reason, "TLS failed; plaintext for a while");
                self.plaintext.note(hop, &reason, self.config.plaintext_memory);
                session
            }
            Err(failed) => return Err(failed.error),
        };
        self.ledger.note(&request.key, session.protection.record());
        session.permit = Some(permit);
        Ok(session)
    }

    /// Opens one session, unless the last connections to the host have failed.
    async fn connect(
        &self,
        request: &SessionRequest,
        target: &Target,
        plaintext: Option<String>,
        end: Instant,
    ) -> Result<Session, SessionError> {
        let hop = &request.key.hop;
        let dead = |why| ConnectError::Failed(format!("not tried again so soon: {why}"));
        self.dead.may_try(hop).map_err(dead)?;
        let opened = self.open_once(request, target, plaintext, end).await;
        match &opened {
            Err(SessionError {
                error: ConnectError::Failed(why),
                ..
            }) => self.dead.failed(hop, why),
            Ok(_) | Err(_) => self.dead.reached(hop),
        }
        opened
    }

    /// Opens a session with the first address that allows one. If an address accepts the connection and refuses the session, the next one
    /// is tried (RFC 5321 section 5.1).
    async fn open_once(
        &self,
        request: &SessionRequest,
        target: &Target,
        plaintext: Option<String>,
        end: Instant,
    ) -> Result<Session, SessionError> {
        let found = tokio::time::timeout_at(end, addresses(target, &self.routes)).await;
        let mut addresses = found.unwrap_or_else(|_| Err(too_late()))?;
        let mut refusal = None;
        for _ in 0..MAX_REFUSALS {
            let connected = connect(&addresses, request.key.source, &self.config);
            let connected = tokio::time::timeout_at(end, connected).await;
            let (tcp, address) = match connected.unwrap_or_else(|_| Err(too_late())) {
                Ok(connected) => connected,
                // The reply of one address says more than that others cannot be reached.
                Err(error) => return Err(refusal.unwrap_or_else(|| error.into())),
            };
            let setup = SessionSetup {
                key: &request.key,
                config: &self.config,
                tls: &self.tls,
                plaintext: plaintext.clone(),
                end,
            };
            match setup.open(tcp).await {
                Ok(session) => return Ok(session),
                Err(error) if error.may_depend_on_the_address() => {
                    tracing::debug!(peer = %request.key.hop, %address, error = %error.error, "no session with this address");
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
            addresses.retain(|other| *other != address);
            if addresses.is_empty() {
                break;
            }
        }
        Err(refusal.unwrap_or_else(|| too_late().into()))
    }

    /// Whether BDAT may be used with this peer.
    pub(super) fn may_chunk(&self, session: &Session) -> bool {
        let offers = &session.capabilities;
        let offered = self.config.chunking && offers.chunking && offers.pipelining;
        offered && self.no_chunking.reason(&session.key.hop).is_none()
    }

    /// Stores that BDAT failed, and the reason: it is not used for a while.
    pub(super) fn avoid_chunking(&self, hop: &NextHop, reason: &str) {
        tracing::info!(peer = %hop, reason, "no BDAT for a while");
        self.no_chunking.note(hop, reason, CHUNKING_PAUSE);
    }

    /// The most recipients that `hop` accepts in one transaction, as far as is known.
    pub(super) fn most_recipients(&self, hop: &NextHop) -> usize {
        self.recipients.most(hop)
    }

    /// Stores that `hop` accepts at most `most` recipients in a transaction.
    pub(super) fn limit_recipients(&self, hop: &NextHop, most: usize) {
        tracing::info!(peer = %hop, most, "fewer recipients in a transaction for a while");
        self.recipients.note(hop, most);
    }

    /// Ends a session with QUIT.
    pub(super) fn discard(&self, session: Session) {
        tokio::spawn(session.quit());
    }

    /// Tries TLS again in the next session with `hop`.
    pub(super) fn try_tls_again(&self, hop: &NextHop) {
        self.plaintext.forget(hop);
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
        request: &SessionRequest,
        target: &Target,
        sessions: usize,
    ) -> Result<(), ConnectError> {
        let end = Instant::now() + self.config.attempt_timeout;
        // All are held until the last one is open, so that none is returned twice.
        let mut held = Vec::new();
        let mut result = Ok(());
        for _ in 0..sessions.min(self.ledger.limit(request)) {
            match self.session(request, target, false, end).await {
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

    /// The current state.
    pub(super) fn snapshot(&self) -> PoolSnapshot {
        let (open, counts) = self.ledger.counts();
        PoolSnapshot::new(open, self.config.connections.max(1), counts)
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
