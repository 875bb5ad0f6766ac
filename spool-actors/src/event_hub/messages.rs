//! The messages of EventHub.

use super::Subscription;
use actix::Message;
use spool_core::Event;
use tokio::sync::oneshot;

/// These happened, in this order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Publish(pub(crate) Vec<Event>);

/// A new subscriber, from the next event on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Enroll {
    pub(crate) reply: oneshot::Sender<Subscription>,
}

/// There will be no more events.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;
