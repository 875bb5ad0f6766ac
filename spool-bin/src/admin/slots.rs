//! How many requests of each kind are answered at the same time, and how many clients failed.

use super::error::busy;
use super::guard::{changes_nothing, is_probe};
use actix_http::error::DispatchError;
use actix_web::Error;
use actix_web::http::Method;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests with a body at the same time.
pub(super) const MAX_BODIES: usize = 64;
/// Requests that read at the same time, without followers of the events.
pub(super) const MAX_READS: usize = 32;
/// Followers of the events at the same time.
pub(super) const MAX_FOLLOWERS: usize = 100;

/// The path of the event stream.
pub(super) const EVENTS: &str = "/api/v1/events";

/// Slots for requests that take time or memory. All are fewer than the connections, so that there is always a connection
/// that can be closed for a new one.
#[derive(Debug)]
pub(super) struct Slots {
    bodies: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    pub(super) failures: Failures,
}

impl Slots {
    pub(super) fn new() -> Self {
        let slots = |most| Arc::new(Semaphore::new(most));
        Self {
            bodies: slots(MAX_BODIES),
            reads: slots(MAX_READS),
            followers: slots(MAX_FOLLOWERS),
            failures: Failures::default(),
        }
    }

    /// A slot for a request; `Ok(None)` when it needs none here.
    pub(super) fn take(&self, method: &Method, path: &str) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let kind = match changes_nothing(method) {
            // The handler of the events takes a slot itself.
            true if is_probe(path) || path == EVENTS => return Ok(None),
            true => &self.reads,
            false => &self.bodies,
        };
        let slot = Arc::clone(kind).try_acquire_owned();
        slot.map(Some)
            .map_err(|_| busy("busy: too many requests are being answered; try again soon"))
    }

    /// A slot for a follower of the events.
    pub(super) fn follow(&self) -> Result<OwnedSemaphorePermit, Error> {
        let slot = Arc::clone(&self.followers).try_acquire_owned();
        slot.map_err(|_| busy(format!("busy: {MAX_FOLLOWERS} follow already; try again later")))
    }
}

/// Requests and connections that failed since the start.
#[derive(Debug, Default, Serialize)]
pub(super) struct Failures {
    /// Not valid HTTP.
    pub(super) invalid: AtomicU64,
    /// Refused by the guard.
    pub(super) refused: AtomicU64,
    /// Connections for which there was no slot, or whose peer was too slow or closed them.
    pub(super) broken: AtomicU64,
}

impl Failures {
    pub(super) fn count(&self, error: &DispatchError) {
        let kind = match matches!(error, DispatchError::Parse(_)) {
            true => &self.invalid,
            false => &self.broken,
        };
        kind.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "a connection to the admin API has ended");
    }
}
