//! The messages of Throttle, in both directions.

use super::Throttle;
use super::limits::Limits;
use crate::engine::{DestinationId, News, Now, PermitId, Told};
use actix::{Message, WeakAddr};
use spool_core::NextHop;
use std::sync::Arc;

/// What has happened in one turn of the engine, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tell(pub(crate) Vec<Told>, pub(crate) Now);

/// Looks at the limits, or sets something of them, at this time. Replies with the result.
pub(crate) struct Ask<T> {
    pub(super) ask: Box<dyn FnOnce(&mut Limits) -> T + Send>,
    pub(super) now: Now,
}

impl<T> Ask<T> {
    pub(crate) fn new(now: Now, ask: impl FnOnce(&mut Limits) -> T + Send + 'static) -> Self {
        let ask = Box::new(ask);
        Self { ask, now }
    }
}

impl<T: 'static> Message for Ask<T> {
    type Result = T;
}

/// A permit was dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dropped(pub(super) PermitId);

/// What Throttle says, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Said(pub(crate) Vec<Saying>);

/// Something that Throttle says to the engine.
#[derive(Debug)]
pub(crate) enum Saying {
    Granted(DestinationId, Permit),
    News(News),
}

/// The right to make attempts on a path, one after the other; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    pub(super) throttle: Option<WeakAddr<Throttle>>,
    pub(crate) id: PermitId,
    /// How many times the maximum had been set when it was granted.
    pub(crate) epoch: u64,
    /// The path whose limits it keeps to.
    pub(crate) path: Arc<[NextHop]>,
}

impl Permit {
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
