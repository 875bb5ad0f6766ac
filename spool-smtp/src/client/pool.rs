//! The cache of open sessions: limits in all and for each next hop, reuse, and an end for the idle ones.

use super::config::SmtpConfig;
use super::connect::connect;
use super::session::{ConnectError, Session};
use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// One next hop's idle sessions, the oldest first, and its limit.
struct Hop {
    idle: Vec<Session>,
    limit: Arc<Semaphore>,
}

#[derive(Default)]
struct Hops {
    hops: HashMap<NextHop, Hop>,
    sweeping: bool,
}

/// All sessions of one agent.
pub(super) struct Pool {
    config: SmtpConfig,
    hops: Mutex<Hops>,
    limit: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(config: SmtpConfig) -> Arc<Self> {
        let limit = Arc::new(Semaphore::new(config.connections.max(1)));
        Arc::new(Self {
            config,
            hops: Mutex::default(),
            limit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Hops> {
        self.hops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle session to `hop`, if one is alive; one made on this thread rather than another.
    pub(super) fn idle(&self, hop: &NextHop) -> Option<Session> {
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

    /// A new session, within the limits.
    pub(super) async fn open(&self, hop: &NextHop) -> Result<Session, ConnectError> {
        let permits = self.permits(hop).await?;
        let tcp = connect(hop, &self.config).await?;
        Session::open(tcp, hop.clone(), &self.config, permits).await
    }

    async fn permits(&self, hop: &NextHop) -> Result<[OwnedSemaphorePermit; 2], ConnectError> {
        if self.limit.available_permits() == 0 {
            self.drop_oldest();
        }
        let per_hop = {
            let mut hops = self.lock();
            let fresh = || Hop {
                idle: Vec::new(),
                limit: Arc::new(Semaphore::new(self.config.connections_per_destination.max(1))),
            };
            Arc::clone(&hops.hops.entry(hop.clone()).or_insert_with(fresh).limit)
        };
        let both = async {
            (
                per_hop.acquire_owned().await,
                Arc::clone(&self.limit).acquire_owned().await,
            )
        };
        match tokio::time::timeout(self.config.connect_timeout, both).await {
            Ok((Ok(hop), Ok(all))) => Ok([hop, all]),
            Ok(_) | Err(_) => Err(ConnectError::Failed("all connections are in use".to_owned())),
        }
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
