//! Where the mail of a service goes, by the configuration of now.
//!
//! Mail with next hops that its submitter named keeps them. All other mail is routed when it is to be sent, by the current
//! [`Routing`]. Recipients of one message with the same next hops stay together, so that one transaction carries them all.

use crate::attempt::RecipientIndex;
use crate::envelope::Envelope;
use crate::message::RouteOrigin;
use crate::next_hop::NextHop;
use crate::router::{Router, grouped};
use std::sync::Arc;

/// Where mail goes whose next hops its submitter did not name, as the service is configured now. Cloning shares it.
///
/// An empty list of next hops means "nowhere": such mail waits until a person gives it a route, or the service has another
/// routing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Routing {
    /// To the next hops it was spooled with; mail for the built-in sink nowhere. For programs without a configuration of routes.
    #[default]
    AsSpooled,
    /// By rules; mail for the built-in sink nowhere: it must not go out to the world by surprise.
    ByRules(Arc<Router>),
    /// Mail for the built-in sink to the one of this run, nowhere while that is not known. Mail that was routed by a configuration
    /// nowhere: the sink would forget it.
    ToBuiltInSink(Arc<[NextHop]>),
}

/// Recipients with the same route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteGroup {
    /// Next hops in order.
    pub next_hops: Arc<[NextHop]>,
    /// Who goes there.
    pub recipients: Vec<RecipientIndex>,
}

impl Routing {
    /// Whether this is `other`, and not another routing, be it with the same routes.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AsSpooled, Self::AsSpooled) => true,
            (Self::ByRules(one), Self::ByRules(other)) => Arc::ptr_eq(one, other),
            (Self::ToBuiltInSink(one), Self::ToBuiltInSink(other)) => one == other,
            (Self::AsSpooled | Self::ByRules(_) | Self::ToBuiltInSink(_), _) => false,
        }
    }

    /// Where mail with this origin goes that was spooled with the next hops `spooled`, where that does not depend on its recipients.
    /// `None`: [`Routing::groups`] tells.
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

    /// Where each of `recipients` of `envelope` goes, in groups with the same next hops, in the order of their first recipients.
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
            let place = usize::try_from(*index).ok();
            let recipient = place.and_then(|place| envelope.recipients.get(place));
            recipient.map_or_else(
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
