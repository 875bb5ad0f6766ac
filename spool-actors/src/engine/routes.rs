//! Mail that the service routes by its configuration follows the current routing: the routes of waiting messages are checked when the
//! routing changes, and the route of each message again before it is sent.
//!
//! A route that a submitter or an operator named is never changed.

use super::divide::groups;
use super::queue::Route;
use super::{Content, DiskJob, Engine, World};
use spool_core::store::StoreError;
use spool_core::{Message, MessageId, RouteGroup, Routing, Status, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages that are checked in one step.
const STEP: usize = 256;
/// The state of the route checks.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// The message after which the walk continues; `None`: all were checked.
    walk: Option<Option<MessageId>>,
    /// Since the walk started: messages that were moved, and messages that were divided.
    moved: usize,
    pub(super) divided: usize,
    /// Whether to log the result even if no message was moved.
    announce: bool,
    pub(super) reading: bool,
    /// Messages whose routes are being read, and which no operation has claimed since: the result is valid for them.
    pub(super) asked: BTreeSet<MessageId>,
    /// Messages that are to be divided.
    pub(super) several: BTreeSet<MessageId>,
    /// Until this time inside there is no room to divide a message.
    pub(super) no_room_until: Timestamp,
}

impl<W: World> Engine<W> {
    /// Mail that the configuration routes goes by another routing from now on. It holds for what waits as well.
    pub(super) fn set_routing(&mut self, routing: Routing) {
        self.queue.set_routing(routing);
        self.recall_stale();
        if self.loaded {
            self.look_at_all();
            self.looking.announce = true;
        }
    }

    /// Starts a check of the route of every message.
    pub(super) fn look_at_all(&mut self) {
        self.looking.walk = Some(None);
        (self.looking.moved, self.looking.divided) = (0, 0);
    }

    /// Takes back starts at the next hops of a former routing.
    pub(super) fn recall_stale(&mut self) {
        for (id, spooled_at) in self.queue.recall_stale() {
            self.write_back(id, spooled_at);
        }
    }

    /// Does one step of the route checks, if there are any.
    pub(super) fn look_on(&mut self) {
        if self.looking.reading || self.is_over() {
            return;
        }
        let ids = self.next_to_look_at();
        let now = self.now;
        let mut to_read = Vec::new();
        for id in ids {
            match self.queue.look(id, now) {
                Some(moved) => self.looking.moved += usize::from(moved),
                None => to_read.push(id),
            }
        }
        if to_read.is_empty() && !self.queue.has_unlooked() && self.looking.walk.is_none() {
            return self.divide_on();
        }
        // Even when nothing must be read, so that other inputs are handled between two steps.
        let (routing, generation) = (self.queue.routing.clone(), self.queue.generation);
        self.looking.asked = to_read.iter().copied().collect();
        self.looking.reading = true;
        self.work(DiskJob::Route {
            ids: to_read,
            routing,
            generation,
        });
    }

    /// The routes of messages were read.
    pub(super) fn routed(
        &mut self,
        routes: Vec<(MessageId, Result<Vec<RouteGroup>, StoreError>)>,
        generation: u32,
    ) {
        self.looking.reading = false;
        // After another change of the routing, all of them are checked again.
        if generation == self.queue.generation {
            for (id, groups) in routes {
                if self.looking.asked.remove(&id) {
                    self.looked(id, groups);
                }
            }
        }
    }

    fn next_to_look_at(&mut self) -> Vec<MessageId> {
        let ids = self.queue.take_unlooked(STEP);
        let Some(after) = self.looking.walk.filter(|_| ids.is_empty()) else {
            return ids;
        };
        let (ids, last) = self.queue.take_stale(after, STEP);
        self.looking.walk = last.map(Some);
        if last.is_none() {
            self.tell_without_route();
        }
        let news = self.looking.moved + self.looking.divided > 0;
        if last.is_none() && (news || std::mem::take(&mut self.looking.announce)) {
            let (moved, divided) = (
                self.looking.moved,
                self.looking.divided + self.looking.several.len(),
            );
            tracing::info!(
                moved,
                divided,
                messages = self.queue.len(),
                "routes: {moved} messages go elsewhere now, {divided} are divided among several routes"
            );
        }
        ids
    }

    /// Warns about mail without a route, once all routes were checked.
    fn tell_without_route(&self) {
        let without = self.queue.without_route();
        if without > 0 {
            tracing::warn!(
                messages = without,
                "mail without a route waits: `spool explain ID` tells why, `spool reroute` gives it one"
            );
        }
    }

    /// The routes of a message were read.
    fn looked(&mut self, id: MessageId, groups: Result<Vec<RouteGroup>, StoreError>) {
        let now = self.now;
        let groups = match groups {
            Ok(groups) => groups,
            // A message that cannot be read is reported when it is to be sent.
            Err(_) => return,
        };
        let Some(first) = groups.first() else { return };
        let is_frozen = self
            .queue
            .status(id, now)
            .is_some_and(|status| status.is_frozen());
        if groups.len() > 1 && !is_frozen {
            self.looking.several.insert(id);
            return;
        }
        let moved = self.queue.redirect(id, &first.next_hops, now);
        self.looking.moved += usize::from(moved);
        if groups.len() > 1 {
            // It is checked again before it is sent.
            self.queue.make_stale(id);
        }
    }

    /// Whether a message that is about to be sent may go where its line leads; otherwise it waits elsewhere, or is divided.
    pub(super) fn is_routed(&mut self, id: MessageId) -> bool {
        if !self.queue.is_stale(id) {
            return true;
        }
        let routing = self.queue.routing.clone();
        let Some(content) = self.queue.content(id) else {
            return true;
        };
        let (groups, now) = (groups(&routing, &content.message), self.now);
        match groups.as_slice() {
            [] => true,
            [only] => {
                let moved = self.queue.redirect_any(id, &only.next_hops, now);
                self.looking.moved += usize::from(moved);
                !moved
            }
            _ if !self.has_room_to_divide() => {
                let until = now.wall_of(self.looking.no_room_until);
                self.queue.waits(id, Status::SendAt(until), now);
                false
            }
            _ => {
                if let Some(content) = self.queue.claim_asked(id, Status::SendAt(now.wall)) {
                    let Content {
                        message, body, held, ..
                    } = *content;
                    self.divide(message, body, held);
                }
                false
            }
        }
    }

    /// The first of the routes of a message, by the current routing.
    pub(super) fn first_route(&self, message: &Message) -> Route {
        let groups = groups(&self.queue.routing, message);
        let next_hops = groups
            .first()
            .map_or(&message.next_hops, |first| &first.next_hops);
        self.queue
            .route(Arc::clone(next_hops), message.origin, groups.len() < 2)
    }
}
