//! Permit: the right to make attempts on a path, one after the other.

use super::Throttle;
use super::limits::Grant;
use crate::engine::PermitId;
use actix::{Message, WeakAddr};

/// A permit was dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Dropped(pub(super) PermitId);

/// The right to make attempts on a path, one after the other; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    /// Whom its drop is reported to.
    throttle: Option<WeakAddr<Throttle>>,
    pub(crate) grant: Grant,
}

impl Permit {
    pub(super) const fn new(grant: Grant, throttle: WeakAddr<Throttle>) -> Self {
        let throttle = Some(throttle);
        Self { throttle, grant }
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
            throttle.do_send(Dropped(self.grant.id));
        }
    }
}
