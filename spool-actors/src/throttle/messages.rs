//! The messages of Throttle, in both directions.

use super::Permit;
use super::limits::Limits;
use crate::engine::{DestinationId, News, Now, Told};
use actix::Message;

/// What has happened in one turn of the engine, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tell(pub(crate) Vec<Told>, pub(crate) Now);

/// Looks at the limits, or sets something of them, at this time.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ask(pub(crate) Box<dyn FnOnce(&mut Limits) + Send>, pub(crate) Now);

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
