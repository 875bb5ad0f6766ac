//! The cache of open sessions: limits in all and for each next hop, reuse, and an end for the idle ones.

use super::config::SmtpConfig;
use super::connect::connect;
use super::resolve::{Routes, Target};
use super::session::{ConnectError, Session};
use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// One next hop's idle sessions, the oldest first, and its limit.
struct Hop {
    idle: Vec<Session>,
    limit: Arc<Semaphore>,
    /// Told when a session is parked.
    parked: Arc<Notify>,
}

/// What a wait for a session ends with.
enum Either {
    Cached(Box<Session>),
    Permits([OwnedSemaphorePermit; 2]),
}

#[derive(Default)]
struct Hops {
    hops: HashMap<NextHop, Hop>,
    sweeping: bool,
}

/// All sessions of one agent.
pub(super) struct Pool {
    config: SmtpConfig,
    routes: Arc<Routes>,
    hops: Mutex<Hops>,
    limit: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(config: SmtpConfig, routes: Arc<Routes>) -> Arc<Self> {
        let limit = Arc::new(Semaphore::new(config.connections.max(1)));
        Arc::new(Self {
            config,
            routes,
            hops: Mutex::default(),
            limit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Hops> {
        self.hops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle session to `hop`, if one is alive; one made on this thread rather than another.
    fn idle(&self, hop: &NextHop) -> Option<Session> {
        let here = std::thread::current().id();
        loop {
            let mut hops = self.lock();
            let idle = &mut hops.hops.get_mut(hop)?.idle;
            let place = idle
                .iter()
                .rposition(|session| session.thread == here)
                .or(idle.len().checked_sub(1))?;
            let session = idle.remove(place);
            drop(hops);
            let fresh = session.parked_at.elapsed() < self.config.idle_timeout;
            if fresh && !session.wire.has_spoken_or_gone() {
                return Some(session);
            }
        }
    }

    /// A session to `target`, within the limits: a cached one, or with `fresh` a new one in any case.
    pub(super) async fn session(&self, target: &Target, fresh: bool) -> Result<Session, ConnectError> {
        let hop = &target.hop;
        if fresh && let Some(known) = self.lock().hops.get_mut(hop) {
            // One cached session after the other had ended: the rest is not worth trying.
            known.idle.clear();
        }
        let wait = async {
            loop {
                if !fresh && let Some(session) = self.idle(hop) {
                    return Ok(Either::Cached(Box::new(session)));
                }
                let (limit, parked) = self.hop(hop);
                tokio::select! {
                    biased;
                    permits = self.permits(limit) => return permits.map(Either::Permits),
                    // Somebody is done with a session to this hop: it is as good as a new one.
                    () = parked.notified() => {}
                }
            }
        };
        match tokio::time::timeout(self.config.connect_timeout, wait).await {
            Ok(Ok(Either::Cached(session))) => Ok(*session),
            Ok(Ok(Either::Permits(permits))) => {
                let tcp = connect(target, &self.routes, &self.config).await?;
                Session::open(tcp, hop.clone(), &self.config, permits).await
            }
            Ok(Err(_)) | Err(_) => Err(ConnectError::Failed("all connections are in use".to_owned())),
        }
    }

    fn hop(&self, hop: &NextHop) -> (Arc<Semaphore>, Arc<Notify>) {
        let fresh = || Hop {
            idle: Vec::new(),
            limit: Arc::new(Semaphore::new(self.config.connections_per_destination.max(1))),
            parked: Arc::default(),
        };
        let mut hops = self.lock();
        let hop = hops.hops.entry(hop.clone()).or_insert_with(fresh);
        (Arc::clone(&hop.limit), Arc::clone(&hop.parked))
    }

    async fn permits(&self, per_hop: Arc<Semaphore>) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let hop = per_hop.acquire_owned().await?;
        if self.limit.available_permits() == 0 {
            self.drop_oldest();
        }
        Ok([hop, Arc::clone(&self.limit).acquire_owned().await?])
    }

    /// Makes room: the session that has been idle longest is closed.
    fn drop_oldest(&self) {
        let mut hops = self.lock();
        let idle = hops.hops.values_mut().filter(|hop| !hop.idle.is_empty());
        let oldest = idle.min_by_key(|hop| hop.idle.first().map(|session| session.parked_at));
        if let Some(hop) = oldest {
            drop(hop.idle.remove(0));
        }
    }

    /// Keeps a session for the next message, or ends it when it has done enough.
    pub(super) fn park(self: &Arc<Self>, mut session: Session) {
        if session.messages >= self.config.messages_per_connection || self.config.idle_timeout.is_zero() {
            tokio::spawn(session.quit());
            return;
        }
        session.parked_at = Instant::now();
        let mut hops = self.lock();
        if let Some(hop) = hops.hops.get_mut(&session.hop) {
            hop.idle.push(session);
            hop.parked.notify_one();
        }
        if !std::mem::replace(&mut hops.sweeping, true) {
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }

    /// Takes out what has been idle too long; with `all`, everything.
    fn expired(&self, all: bool) -> Vec<Session> {
        let mut expired = Vec::new();
        let mut hops = self.lock();
        for hop in hops.hops.values_mut() {
            let old = |session: &Session| all || session.parked_at.elapsed() >= self.config.idle_timeout;
            expired.extend(hop.idle.extract_if(.., |session| old(session)));
        }
        let limit = self.config.connections_per_destination.max(1);
        hops.hops
            .retain(|_, hop| !hop.idle.is_empty() || hop.limit.available_permits() < limit);
        hops.sweeping = !hops.hops.is_empty();
        expired
    }

    /// Ends every idle session.
    pub(super) async fn close(&self) {
        let quits = self
            .expired(true)
            .into_iter()
            .map(|session| tokio::spawn(session.quit()));
        for quit in quits.collect::<Vec<_>>() {
            let _ = quit.await;
        }
    }
}

/// Runs while sessions are kept, and ends with the last of them.
async fn sweep(pool: Arc<Pool>) {
    let period = pool.config.idle_timeout.max(std::time::Duration::from_millis(10)) / 2;
    loop {
        tokio::time::sleep(period).await;
        for session in pool.expired(false) {
            tokio::spawn(session.quit());
        }
        if !pool.lock().sweeping {
            return;
        }
    }
}
