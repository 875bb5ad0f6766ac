//! Peers with which an extension has failed recently, and why: those whose TLS failed are sent mail in plaintext, and those that failed at
//! BDAT are sent DATA. The number of peers is bounded.

use spool_core::NextHop;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most peers. When there are more, the oldest is removed and the extension is tried again.
const MAX_PEERS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct PeerMemory(Mutex<HashMap<NextHop, (Instant, String)>>);

impl PeerMemory {
    /// Why the extension failed with `hop`, if it did.
    pub(super) fn reason(&self, hop: &NextHop) -> Option<String> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, reason) = peers.get(hop)?;
        if *until > Instant::now() {
            return Some(reason.clone());
        }
        peers.remove(hop);
        None
    }

    /// Stores `reason` for `span`.
    pub(super) fn note(&self, hop: &NextHop, reason: &str, span: Duration) {
        let now = Instant::now();
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS && !peers.contains_key(hop) {
            peers.retain(|_, (until, _)| *until > now);
            let oldest = peers.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(oldest) = oldest
                .map(|(hop, _)| hop.clone())
                .filter(|_| peers.len() >= MAX_PEERS)
            {
                peers.remove(&oldest);
            }
        }
        peers.insert(hop.clone(), (now + span, reason.to_owned()));
    }

    /// Removes `hop`.
    pub(super) fn forget(&self, hop: &NextHop) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.remove(hop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn peers_are_forgotten_in_time_and_when_there_are_too_many() {
        let peers = PeerMemory::default();
        let hop = |n: usize| -> NextHop { format!("h{n}.test:25").parse().unwrap() };
        let span = Duration::from_secs(600);
        peers.note(&hop(0), "no cipher", span);
        assert_eq!(peers.reason(&hop(0)).as_deref(), Some("no cipher"));
        assert_eq!(peers.reason(&hop(1)), None);
        tokio::time::advance(span).await;
        assert_eq!(peers.reason(&hop(0)), None);
        for n in 0..=MAX_PEERS {
            peers.note(
                &hop(n),
                "x",
                span + Duration::from_secs(u64::try_from(n).unwrap()),
            );
        }
        assert_eq!(peers.reason(&hop(0)), None, "the oldest");
        assert_eq!(peers.reason(&hop(MAX_PEERS)).as_deref(), Some("x"));
        assert_eq!(peers.0.lock().unwrap().len(), MAX_PEERS);
    }
}
