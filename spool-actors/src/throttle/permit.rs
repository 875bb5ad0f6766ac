//! Permit: the right to make attempts on a path, one after the other.

use super::Throttle;
use crate::engine::PermitId;
use actix::{Message, WeakAddr};
use spool_core::NextHop;
use std::sync::Arc;

/// A permit was dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dropped(pub(super) PermitId);

/// The right to make attempts on a path, one after the other; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    /// Whom its drop is reported to.
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
