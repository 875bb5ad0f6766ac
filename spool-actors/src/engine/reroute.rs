//! What `reroute` does to a message: a route that a person names stays; one by the configuration is computed again when the message
//! is sent.

use super::bulk::BulkId;
use super::queue::{Note, Route};
use super::taken::Taken;
use super::{Engine, Tag, World};
use crate::errors::operation_error;
use crate::outcome::NewRoute;
use spool_core::store::{Change, StoreError};
use spool_core::{EventKind, Held, Message, MessageId, RouteOrigin, Status};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// The route that `to` means for a message.
    fn new_route(&self, message: &mut Message, to: &NewRoute) -> Route {
        match to {
            NewRoute::To(next_hops) => self.queue.route(Arc::clone(next_hops), RouteOrigin::Named, true),
            NewRoute::ByConfig => {
                message.origin = RouteOrigin::Configured;
                let (next_hops, whole) = self.first_route(message);
                self.queue.route(next_hops, RouteOrigin::Configured, whole)
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
    pub(super) fn reroute_later(&mut self, bulk: BulkId, id: MessageId, to: &NewRoute) {
        let Some(mut message) = self.queue.content(id).map(|content| content.message.clone()) else {
            // It is being sent, so it is in memory.
            return self.bulk_done(bulk, Ok(()));
        };
        let mut route = self.new_route(&mut message, to);
        if route.origin == RouteOrigin::Configured {
            // Who is left then may have another one.
            route = self.queue.route(route.next_hops, route.origin, false);
        }
        let change = self.reroute_change(&message, &route);
        let note = Note::Route(Box::new(route));
        self.queue.note_pending(id, true);
        self.commit(change, Tag::NotedWhileSending { bulk, id, note }, true);
    }

    /// Writes down the route of a message that the operation has.
    pub(super) fn reroute_taken(
        &mut self,
        bulk: BulkId,
        to: &NewRoute,
        taken: &Taken,
        mut message: Message,
        held: &Arc<Held>,
    ) {
        let (id, before) = (taken.id, taken.before);
        if message.state.in_flight.is_some() {
            // Its attempt was about to start at its former next hops.
            let change = Change::Mark {
                id,
                status: before,
                frozen: None,
                in_flight: None,
                events: Vec::new(),
            };
            self.commit(change, Tag::Before, true);
        }
        let on_disk = (Arc::clone(&message.next_hops), message.origin);
        let route = self.new_route(&mut message, to);
        if on_disk == (Arc::clone(&route.next_hops), route.origin) {
            return self.rerouted(bulk, id, before, &route, Ok(()));
        }
        let change = self.reroute_change(&message, &route);
        let tag = Tag::Rerouted {
            bulk,
            id,
            before,
            route,
            _held: Arc::clone(held),
        };
        self.commit(change, tag, true);
    }

    /// The disk has answered for a message that the operation has.
    pub(super) fn rerouted(
        &mut self,
        bulk: BulkId,
        id: MessageId,
        before: Status,
        route: &Route,
        result: Result<(), StoreError>,
    ) {
        if result.is_ok() {
            self.queue.set_route(id, route, true, self.now);
        }
        self.give_back(id, before);
        self.bulk_done(bulk, result.map_err(operation_error));
    }
}
