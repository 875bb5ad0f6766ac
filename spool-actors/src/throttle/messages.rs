//! The messages of Throttle, in both directions.

use super::limits::{Limits, Output};
use crate::engine::{Now, Told};
use actix::Message;

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

/// What Throttle says, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Said(pub(crate) Vec<Output>);
