//! What `reroute` does to a message: a route that a person names stays; one by the configuration is computed again when the message
//! is sent.

use super::queue::{Note, Route};
use super::tag::{Tag, waiting};
use super::work::WorkId;
use super::{Engine, World};
use crate::errors::operation_error;
use crate::outcome::NewRoute;
use spool_core::store::{Change, StoreError};
use spool_core::{EventKind, Held, Message, MessageId, RouteOrigin};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// The route that `to` means for a message.
    fn new_route(&self, message: &mut Message, to: &NewRoute) -> Route {
        match to {
            NewRoute::To(next_hops) => self.queue.route(Arc::clone(next_hops), RouteOrigin::Named, true),
            NewRoute::ByConfig => {
                message.origin = RouteOrigin::Configured;
                self.first_route(message)
            }
        }
    }

    fn reroute_change(&self, message: &Message, route: &Route) -> Change {
        Change::Route {
            id: message.id,
            next_hops: Arc::clone(&route.next_hops),
            origin: route.origin,
            events: vec![self.tell(EventKind::Rerouted(Arc::clone(&route.next_hops)), message)],
        }
    }

    /// A message that is being sent has another route when its attempt ends. It is on disk before.
    pub(super) fn reroute_later(&mut self, work: WorkId, id: MessageId, to: &NewRoute) {
        let Some(mut message) = self.queue.content(id).map(|content| content.message.clone()) else {
            // It is being sent, so it is in memory.
            return self.done_with(work, Ok(()));
        };
        let mut route = self.new_route(&mut message, to);
        if route.origin == RouteOrigin::Configured {
            // Who is left then may have another one.
            route = self.queue.route(route.next_hops, route.origin, false);
        }
        let change = self.reroute_change(&message, &route);
        self.commit_note(work, id, Note::Route(Box::new(route)), change);
    }

    /// Writes down the route of a claimed message.
    pub(super) fn reroute_claimed(&mut self, work: WorkId, to: &NewRoute, mut message: Message, held: Held) {
        let id = message.id;
        if let Some(before) = self
            .queue
            .before(id)
            .filter(|_| message.state.in_flight.is_some())
        {
            // Its attempt was about to start at its former next hops.
            self.commit(waiting(id, before), Tag::Before, true);
        }
        let on_disk = (Arc::clone(&message.next_hops), message.origin);
        let route = self.new_route(&mut message, to);
        if on_disk == (Arc::clone(&route.next_hops), route.origin) {
            return self.rerouted(work, id, &route, Ok(()));
        }
        let change = self.reroute_change(&message, &route);
        let tag = Tag::Rerouted {
            work,
            route,
            _held: held,
        };
        self.commit(change, tag, true);
    }

    /// The disk has answered for the route of a claimed message.
    pub(super) fn rerouted(
        &mut self,
        work: WorkId,
        id: MessageId,
        route: &Route,
        result: Result<(), StoreError>,
    ) {
        if result.is_ok() {
            self.queue.set_route(id, route, true, self.now);
        }
        self.give_back(id, None);
        self.done_with(work, result.map_err(operation_error));
    }
}
