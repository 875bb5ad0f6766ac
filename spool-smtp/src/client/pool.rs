//! The cache of open sessions: what is taken from it, what is opened for it, and an end for the idle ones.

use super::chunking::SHUNNED;
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

/// The most addresses of a host that may take a connection and have no session for us, before the host is passed over.
const MOST_REFUSALS: usize = 3;

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

    /// A session as it is wanted, within the limits: a cached one, or with `fresh` a new one in any case. It is of use
    /// until `end`.
    pub(super) async fn session(
        &self,
        want: &SessionRequest,
        target: &Target,
        fresh: bool,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let here = std::thread::current().id();
        let give_up = (Instant::now() + self.config.connect_timeout).min(end);
        loop {
            let preferred = |session: &Session| session.thread == here;
            match self.ledger.turn(want, fresh, preferred, give_up).await {
                Some(SessionGrant::Cached(session)) => {
                    let kept = session.parked_at.elapsed() < self.config.idle_timeout;
                    if kept && !session.wire.has_spoken_or_gone() {
                        session.wire.until(end);
                        return Ok(session);
                    }
                }
                // In a box of its own, for it takes kilobytes: most attempts find a session, and each would carry the room for this.
                Some(SessionGrant::Open(permit)) => {
                    return Box::pin(self.open(want, target, permit, end)).await;
                }
                None => {
                    let error = "no connection was closed in time to make room for another one";
                    return Err(ConnectError::Failed(error.to_owned()));
                }
            }
        }
    }

    /// Opens a session: with TLS as the policy has it, and where that failed and plaintext will do, once more in plaintext.
    async fn open(
        &self,
        want: &SessionRequest,
        target: &Target,
        permit: ConnectionPermit<Session>,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let hop = &want.key.hop;
        let may_fall_back = want.key.may_fall_back(&self.config);
        let known = self.plaintext.reason(hop).filter(|_| may_fall_back);
        let mut session = match self.connect(want, target, known, end).await {
            Ok(session) => session,
            Err(SessionError {
                error,
                tls_failed: true,
            }) if may_fall_back => {
                let reason = error.to_string();
                // Not on the same connection: nobody knows what is still on its way there.
                let again = self.connect(want, target, Some(reason.clone()), end).await;
                let session = again.map_err(|failed| failed.error)?;
                tracing::info!(peer = %hop, reason, "TLS failed; plaintext for a while");
                self.plaintext.note(hop, &reason, self.config.plaintext_memory);
                session
            }
            Err(failed) => return Err(failed.error),
        };
        self.ledger.note(&want.key, session.protection.record());
        session.permit = Some(permit);
        Ok(session)
    }

    /// One connection, unless the host has just failed others.
    async fn connect(
        &self,
        want: &SessionRequest,
        target: &Target,
        plaintext: Option<String>,
        end: Instant,
    ) -> Result<Session, SessionError> {
        let hop = &want.key.hop;
        let dead = |why| ConnectError::Failed(format!("not tried again so soon: {why}"));
        self.dead.may_try(hop).map_err(dead)?;
        let opened = self.open_once(want, target, plaintext, end).await;
        match &opened {
            Err(SessionError {
                error: ConnectError::Failed(why),
                ..
            }) => self.dead.failed(hop, why),
            Ok(_) | Err(_) => self.dead.reached(hop),
        }
        opened
    }

    /// A session with the first address that gives one: where an address takes the connection and then has no session for us, the next
    /// one is asked (RFC 5321 section 5.1).
    async fn open_once(
        &self,
        want: &SessionRequest,
        target: &Target,
        plaintext: Option<String>,
        end: Instant,
    ) -> Result<Session, SessionError> {
        let found = tokio::time::timeout_at(end, addresses(target, &self.routes)).await;
        let mut addresses = found.unwrap_or_else(|_| Err(too_late()))?;
        let mut refusal = None;
        for _ in 0..MOST_REFUSALS {
            let connected = connect(&addresses, want.key.source, &self.config);
            let connected = tokio::time::timeout_at(end, connected).await;
            let (tcp, address) = match connected.unwrap_or_else(|_| Err(too_late())) {
                Ok(connected) => connected,
                // What an address said is more than that others cannot be reached.
                Err(error) => return Err(refusal.unwrap_or_else(|| error.into())),
            };
            let setup = SessionSetup {
                key: &want.key,
                config: &self.config,
                tls: &self.tls,
                plaintext: plaintext.clone(),
                end,
            };
            match setup.open(tcp).await {
                Ok(session) => return Ok(session),
                Err(error) if error.is_of_the_address() => {
                    tracing::debug!(peer = %want.key.hop, %address, error = %error.error, "no session with this address");
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

    /// Whether BDAT may be said to this peer.
    pub(super) fn may_chunk(&self, session: &Session) -> bool {
        let offers = &session.capabilities;
        let offered = self.config.chunking && offers.chunking && offers.pipelining;
        offered && self.no_chunking.reason(&session.key.hop).is_none()
    }

    /// Remembers what went wrong over BDAT.
    pub(super) fn shun_chunking(&self, hop: &NextHop, reason: &str) {
        tracing::info!(peer = %hop, reason, "no BDAT for a while");
        self.no_chunking.note(hop, reason, SHUNNED);
    }

    /// The most recipients that `hop` takes in one transaction, as far as that was learned.
    pub(super) fn most_recipients(&self, hop: &NextHop) -> usize {
        self.recipients.most(hop)
    }

    /// Remembers that `hop` took `most` recipients in a transaction, and no more.
    pub(super) fn limit_recipients(&self, hop: &NextHop, most: usize) {
        tracing::info!(peer = %hop, most, "fewer recipients in a transaction for a while");
        self.recipients.note(hop, most);
    }

    /// Ends a session that is in step with its peer, and takes no more mail.
    pub(super) fn discard(&self, session: Session) {
        tokio::spawn(session.quit());
    }

    /// The next session with `hop` is one under TLS, if it will have that.
    pub(super) fn try_tls_again(&self, hop: &NextHop) {
        self.plaintext.forget(hop);
    }

    /// Keeps a session for the next message, or ends it when it has done enough.
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

    /// Sees to it that `sessions` sessions are open as they are wanted, as far as the limits allow, and keeps them.
    pub(super) async fn warm(
        self: &Arc<Self>,
        want: &SessionRequest,
        target: &Target,
        sessions: usize,
    ) -> Result<(), ConnectError> {
        let end = Instant::now() + self.config.attempt_timeout;
        // All are held until the last one is there, so that each is another one.
        let mut held = Vec::new();
        let mut result = Ok(());
        for _ in 0..sessions.min(self.ledger.limit(want)) {
            match self.session(want, target, false, end).await {
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

    /// How it stands now.
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

/// Whoever looks after the idle sessions, until there are none. When the runtime ends before that, the next session that is kept has
/// all of them looked after again.
struct Sweeper(Option<Arc<SessionPool>>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.ledger.leave_unswept();
        }
    }
}

/// Runs while sessions are kept, and ends with the last of them.
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
