//! Where the mail of a service goes, according to its current configuration.
//!
//! Mail whose next hops the submitter named keeps them. All other mail is routed when it is due, by the current
//! [`Routing`]. Recipients of one message with the same next hops stay together, so that one transaction carries them
//! all.

use crate::attempt::RecipientIndex;
use crate::envelope::Envelope;
use crate::message::RouteOrigin;
use crate::next_hop::NextHop;
use crate::router::{Router, grouped};
use std::sync::Arc;

/// How mail without next hops named by its submitter is routed. Clones share it.
///
/// An empty list of next hops means that there is no route: such mail waits until an operator gives it one, or the
/// service has another routing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Routing {
    /// To the next hops with which it was spooled; no route for mail for the built-in sink. For programs without
    /// configured routes.
    #[default]
    AsSpooled,
    /// By rules; no route for mail for the built-in sink, which must not be sent elsewhere unexpectedly.
    ByRules(Arc<Router>),
    /// Mail for the built-in sink goes to the sink of this run. No route for mail that was routed
    /// by a configuration: the sink would discard it.
    ToBuiltInSink(Arc<[NextHop]>),
}

/// Recipients with the same route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteGroup {
    /// Next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// The recipients.
    pub recipients: Vec<RecipientIndex>,
}

impl Routing {
    /// Whether both are the same routing. Two routings with equal routes are not.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AsSpooled, Self::AsSpooled) => true,
            (Self::ByRules(one), Self::ByRules(other)) => Arc::ptr_eq(one, other),
            (Self::ToBuiltInSink(one), Self::ToBuiltInSink(other)) => one == other,
            (Self::AsSpooled | Self::ByRules(_) | Self::ToBuiltInSink(_), _) => false,
        }
    }

    /// The next hops of mail with this origin that was spooled with the next hops `spooled`, if they do not depend on
    /// its recipients. Otherwise `None`, and [`Routing::groups`] gives them.
    #[must_use]
    pub fn without_recipients(
        &self,
        origin: RouteOrigin,
        spooled: &Arc<[NextHop]>,
    ) -> Option<Arc<[NextHop]>> {
        let nowhere = || Some(Arc::from([]));
        match (origin, self) {
            (RouteOrigin::Named, _) | (RouteOrigin::Configured, Self::AsSpooled) => Some(Arc::clone(spooled)),
            (RouteOrigin::Configured, Self::ByRules(router)) => router.only_route().cloned(),
            (RouteOrigin::BuiltInSink, Self::ToBuiltInSink(sink)) => Some(Arc::clone(sink)),
            (RouteOrigin::Configured, Self::ToBuiltInSink(_))
            | (RouteOrigin::BuiltInSink, Self::AsSpooled | Self::ByRules(_)) => nowhere(),
        }
    }

    /// The routes of `recipients` of `envelope`, in groups with the same next hops, in the order of their first
    /// recipients.
    #[must_use]
    pub fn groups(
        &self,
        origin: RouteOrigin,
        spooled: &Arc<[NextHop]>,
        envelope: &Envelope,
        recipients: &[RecipientIndex],
    ) -> Vec<RouteGroup> {
        let group = |(next_hops, recipients)| RouteGroup {
            next_hops,
            recipients,
        };
        let router = match (self, self.without_recipients(origin, spooled)) {
            (Self::ByRules(router), None) => router,
            (_, known) => {
                let hops = known.unwrap_or_else(|| Arc::clone(spooled));
                return vec![group((hops, recipients.to_vec()))];
            }
        };
        let hops = |index: &RecipientIndex| {
            envelope.recipient(*index).map_or_else(
                || Arc::clone(spooled),
                |recipient| router.next_hops(&recipient.address),
            )
        };
        let groups = grouped(recipients.iter().copied(), hops);
        groups.into_iter().map(group).collect()
    }
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
