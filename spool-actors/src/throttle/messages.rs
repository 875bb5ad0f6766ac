//! What Throttle is told, and what it tells.

use super::Throttle;
use crate::engine::DestinationId;
use actix::{Message, WeakAddr};
use spool_core::Hold;

/// So many more attempts wait for a destination.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Demand {
    pub(crate) destination: DestinationId,
    pub(crate) more: usize,
}

/// The maximum of concurrent jobs, from now on. Permits already out do not count against it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SetMax(pub(crate) usize);

/// Asks which limits hold back an attempt to this destination.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Hold>")]
pub(crate) struct Why {
    pub(crate) destination: DestinationId,
}

/// A permit came back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Release {
    pub(crate) destination: DestinationId,
    pub(crate) epoch: u64,
}

/// One attempt to this destination may start; or let the permit go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Granted {
    pub(crate) destination: DestinationId,
    pub(crate) permit: Permit,
}

/// Whether permits are waited for that cannot be granted now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Contended(pub(crate) bool);

/// The right to run one delivery session; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    throttle: WeakAddr<Throttle>,
    destination: DestinationId,
    epoch: u64,
}

impl Permit {
    pub(super) const fn new(throttle: WeakAddr<Throttle>, destination: DestinationId, epoch: u64) -> Self {
        Self {
            throttle,
            destination,
            epoch,
        }
    }
}

impl Permit {
    /// How many times the maximum had been set when it was granted.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(throttle) = self.throttle.upgrade() {
            throttle.do_send(Release {
                destination: self.destination,
                epoch: self.epoch,
            });
        }
    }
}
