//! The messages of Throttle, in both directions.

use super::limits::Doings;
use super::{Output, Throttle};
use crate::engine::{DestinationId, Now, PermitId, Told};
use actix::{Message, WeakAddr};
use spool_core::{Hold, LearnedDestination, NextHop, Policies};
use std::sync::Arc;

/// What has happened in one turn of the engine, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tell(pub(crate) Vec<Told>, pub(crate) Now);

/// What is set from outside.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Set {
    /// The maximum of concurrent jobs, from now on. Permits that are out do not count against it.
    MaxJobs(usize, Now),
    Policies(Policies, Now),
    /// What was learned of the path with these hosts, or of the destination with these next hops, is forgotten.
    Reset(Arc<[NextHop]>, Now),
}

/// Asks which limits hold back a message of this destination with `ahead` others before it.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Hold>")]
pub(crate) struct GetHolds {
    pub(crate) destination: DestinationId,
    pub(crate) next_hops: Arc<[NextHop]>,
    pub(crate) ahead: usize,
    pub(crate) now: Now,
}

/// Asks how the paths of the destinations with these next hops are doing.
#[derive(Debug, Message)]
#[rtype(result = "Doings")]
pub(crate) struct GetDoings(pub(crate) Vec<Arc<[NextHop]>>, pub(crate) Now);

/// Asks what is worth remembering of all paths.
#[derive(Debug, Message)]
#[rtype(result = "Vec<LearnedDestination>")]
pub(crate) struct GetLearned(pub(crate) Now);

/// A permit was dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dropped(PermitId);

impl Dropped {
    pub(super) const fn permit(&self) -> PermitId {
        self.0
    }
}

/// What Throttle says, in order; with each permit that is granted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Said(pub(crate) Vec<(Output, Option<Permit>)>);

/// The right to make attempts on a path, one after the other; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    throttle: Option<WeakAddr<Throttle>>,
    id: PermitId,
    epoch: u64,
    path: Arc<[NextHop]>,
}

impl Permit {
    pub(super) const fn new(
        throttle: WeakAddr<Throttle>,
        id: PermitId,
        epoch: u64,
        path: Arc<[NextHop]>,
    ) -> Self {
        Self {
            throttle: Some(throttle),
            id,
            epoch,
            path,
        }
    }

    pub(crate) const fn id(&self) -> PermitId {
        self.id
    }

    /// How many times the maximum had been set when it was granted.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The path whose limits it keeps to.
    pub(crate) const fn path(&self) -> &Arc<[NextHop]> {
        &self.path
    }

    /// Keeps the permit from reporting its drop, because its return is reported otherwise.
    pub(crate) fn told_of_elsewhere(mut self) {
        self.throttle = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let throttle = self.throttle.take().and_then(|throttle| throttle.upgrade());
        if let Some(throttle) = throttle {
            throttle.do_send(Dropped(self.id));
        }
    }
}
