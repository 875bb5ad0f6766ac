//! Which destination a message waits for under the current routing. Mail that the configuration routes moves to another destination when
//! the routing changes.
//!
//! A message is checked when its destination comes from an outdated routing: at once while it waits, otherwise when an operation or an attempt
//! returns it to the queue. Where the route depends on the recipients, the caller reads them.

use super::{Destination, Entry, Now, Phase, Queue, Route};
use crate::engine::content::Content;
use crate::engine::{DestinationId, World};
use spool_core::{MessageId, NextHop, RouteOrigin, Routing, Status, Timestamp};
use std::ops::Bound;
use std::sync::Arc;

/// Entries that are checked in one step.
pub(super) const LOOK: usize = 65_536;

impl Entry {
    /// Whether its destination comes from another routing than that of `generation`.
    pub(super) fn is_stale(&self, generation: u32) -> bool {
        self.origin != RouteOrigin::Named && self.generation != generation
    }
}

impl<W: World> Queue<W> {
    /// Mail that the configuration routes goes by `routing` from now on. [`Queue::take_stale`] returns the messages to be checked.
    pub(in crate::engine) fn set_routing(&mut self, routing: Routing) {
        self.routing = routing;
        self.generation = self.generation.wrapping_add(1);
    }

    /// A route of the current routing. Not `whole`: it is not the route of all recipients, and is checked again.
    pub(in crate::engine) const fn route(
        &self,
        next_hops: Arc<[NextHop]>,
        origin: RouteOrigin,
        whole: bool,
    ) -> Route {
        let generation = self.generation_of(whole);
        Route {
            next_hops,
            origin,
            generation,
        }
    }

    /// The generation that a destination gets: the current one if all recipients of the message go there (`whole`), otherwise an outdated
    /// one, so that the route is checked again.
    pub(in crate::engine) const fn generation_of(&self, whole: bool) -> u32 {
        match whole {
            true => self.generation,
            false => self.generation.wrapping_sub(1),
        }
    }

    /// Takes back the starts of attempts at destinations that come from another routing, as [`Queue::recall`] does.
    pub(in crate::engine) fn recall_stale(&mut self) -> Vec<(MessageId, Timestamp)> {
        let generation = self.generation;
        let with_stale = |slot: &Destination<W>| {
            let mut entries = slot.armed.iter().filter_map(|id| self.entries.get(id));
            entries.any(|entry| entry.is_stale(generation))
        };
        let slots = self.destinations.iter().filter(|slot| with_stale(slot));
        let stale: Vec<_> = slots.map(|slot| slot.id).collect();
        stale.into_iter().flat_map(|id| self.take_armed(id)).collect()
    }

    /// The destination of this message must be checked.
    pub(in crate::engine) fn make_stale(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.generation = self.generation.wrapping_sub(1);
        }
    }

    /// Whether the destination of this message comes from an outdated routing.
    pub(in crate::engine) fn is_stale(&self, id: MessageId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| entry.is_stale(self.generation))
    }

    /// Whether the current routing has no route for this message.
    pub(in crate::engine) fn has_no_route(&self, id: MessageId) -> bool {
        let slot = |entry: &Entry| self.at(entry.destination);
        let entry = self.entries.get(&id);
        let entry = entry.filter(|entry| !entry.is_stale(self.generation));
        entry.and_then(slot).is_some_and(Destination::is_nowhere)
    }

    /// How many messages have no route, once the routes of all were checked.
    pub(in crate::engine) fn without_route(&self) -> usize {
        let nowhere = self.by_hops.get(&[][..]).copied();
        let slot = nowhere.and_then(|id| self.at(id));
        slot.map_or(0, |slot| slot.messages)
    }

    /// The destination of messages without a route, unless delivery is paused.
    pub(in crate::engine) fn nowhere(&self) -> Option<DestinationId> {
        let nowhere = self.by_hops.get(&[][..]).copied();
        nowhere.filter(|_| !self.paused)
    }

    /// An operation or an attempt has returned a message to the queue: sets the route that was noted for it meanwhile, or notes that its route
    /// must be checked.
    pub(super) fn look_at_route(&mut self, id: MessageId, reroute: Option<Box<Route>>, now: Now) {
        if let Some(route) = reroute {
            self.set_route(id, &route, true, now);
        }
        // A noted route from the configuration as well: the configuration may have changed since.
        if self.is_stale(id) {
            self.unlooked.push(id);
        }
    }

    /// Up to `limit` messages after the id `after`, in the order of their ids, that are `wanted`; and the last id that was checked, `None` at
    /// the end.
    fn walk(
        &self,
        after: Option<MessageId>,
        limit: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut found, mut last) = (Vec::new(), None);
        // Checking an entry is cheap, but their number has no bound.
        for (id, entry) in self.entries.range((from, Bound::Unbounded)).take(LOOK) {
            last = Some(*id);
            if wanted(entry) {
                found.push(*id);
            }
            if found.len() >= limit {
                break;
            }
        }
        (found, last)
    }

    /// The waiting messages, as [`Queue::walk`] finds them, whose route must be checked.
    pub(in crate::engine) fn take_stale(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        let is_stale = |entry: &Entry| entry.is_stale(self.generation) && entry.phase.is_movable();
        self.walk(after, limit, is_stale)
    }

    /// The messages, as [`Queue::walk`] finds them, that were spooled at this time.
    pub(crate) fn spooled_at(
        &self,
        at: Timestamp,
        after: MessageId,
        limit: usize,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        self.walk(Some(after), limit, |entry| entry.spooled_at == at)
    }

    /// Up to `limit` messages that were returned to the queue and whose route must be checked.
    pub(in crate::engine) fn take_unlooked(&mut self, limit: usize) -> Vec<MessageId> {
        let rest = self.unlooked.len().saturating_sub(limit);
        self.unlooked.split_off(rest)
    }

    /// Moves a waiting message to its destination under the current routing, if that does not depend on its recipients; returns whether it had
    /// another one. `None`: it depends on them, and the message must be read.
    pub(in crate::engine) fn look(&mut self, id: MessageId, now: Now) -> Option<bool> {
        let Some(route) = self.route_of(id) else {
            return Some(false);
        };
        let next_hops = self.routing.without_recipients(route.origin, &route.next_hops)?;
        Some(self.redirect(id, &next_hops, now))
    }

    /// Whether the route of a message that was returned to the queue must still be checked.
    pub(in crate::engine) fn has_unlooked(&self) -> bool {
        !self.unlooked.is_empty()
    }

    /// Moves a waiting message to the destination `next_hops`, which the current routing gives. `false`: it has that already, or is busy and
    /// is checked again when it is returned.
    pub(in crate::engine) fn redirect(
        &mut self,
        id: MessageId,
        next_hops: &Arc<[NextHop]>,
        now: Now,
    ) -> bool {
        self.phase(id).is_some_and(Phase::is_movable) && self.redirect_any(id, next_hops, now)
    }

    /// The same for any message, before the start of its attempt is written.
    pub(in crate::engine) fn redirect_any(
        &mut self,
        id: MessageId,
        next_hops: &Arc<[NextHop]>,
        now: Now,
    ) -> bool {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.generation = self.generation;
        }
        self.move_to(id, next_hops, now)
    }

    /// Moves a message to the destination `next_hops`; `false` when it is there. One that is about to be sent goes to the end of the line.
    fn move_to(&mut self, id: MessageId, next_hops: &Arc<[NextHop]>, now: Now) -> bool {
        let Some(from) = self.entries.get(&id).map(|entry| entry.destination) else {
            return false;
        };
        if self.next_hops(from) == Some(next_hops) {
            return false;
        }
        let to = self.enlist(next_hops);
        // It leaves the counts of one destination and enters those of the other.
        let Some(mut old) = self.set(id, Phase::Claimed(Status::Frozen)) else {
            return false;
        };
        if let Some(content) = old.content_mut() {
            content.set_next_hops(next_hops);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.destination = to;
            entry.route_told = false;
        }
        let held_up = self.is_held_up(to, now);
        if held_up && matches!(old, Phase::Ready(_) | Phase::Asking(_)) {
            old = Phase::Ready(None);
        } else if let Phase::Asking(content) = old {
            old = Phase::Ready(Some(content));
        }
        self.set(id, old);
        self.delist(from);
        true
    }

    /// Sets another route of a message that is claimed or was returned to the queue; `told`: an event has reported it.
    pub(in crate::engine) fn set_route(&mut self, id: MessageId, route: &Route, told: bool, now: Now) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.origin = route.origin;
            entry.generation = route.generation;
        }
        self.move_to(id, &route.next_hops, now);
        if let Some(entry) = self.entries.get_mut(&id).filter(|_| told) {
            entry.route_told = true;
        }
    }

    /// Whether an event must report the route of a message. That the built-in sink has another port in each run is not reported. From now on the
    /// route counts as reported.
    pub(in crate::engine) fn take_route_news(&mut self, id: MessageId) -> bool {
        let entry = self.entries.get_mut(&id);
        let entry = entry.filter(|entry| entry.origin == RouteOrigin::Configured);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.route_told, true))
    }

    /// Claims a message that was read to be sent; otherwise it waits for `status`.
    pub(in crate::engine) fn claim_asked(&mut self, id: MessageId, status: Status) -> Option<Box<Content>> {
        if !matches!(self.phase(id), Some(Phase::Asking(_))) {
            return None;
        }
        self.set(id, Phase::Claimed(status))?.into_content()
    }

    /// The next hops that a message gets at the end of its attempt, if it was given others meanwhile.
    pub(crate) fn noted_route(&self, id: MessageId) -> Option<Arc<[NextHop]>> {
        let (Phase::Running(_, _, noted) | Phase::Settling(_, noted)) = self.phase(id)? else {
            return None;
        };
        Some(Arc::clone(&noted.reroute.as_ref()?.next_hops))
    }

    /// The route was not written. `news`: the event that reports it was not written either.
    pub(in crate::engine) fn put_back_route_news(&mut self, id: MessageId, news: bool) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|_| news) {
            entry.route_told = false;
        }
    }

    /// The route of a message, as it is now.
    pub(crate) fn route_of(&self, id: MessageId) -> Option<Route> {
        let entry = self.entries.get(&id)?;
        Some(Route {
            next_hops: Arc::clone(self.next_hops(entry.destination)?),
            origin: entry.origin,
            generation: entry.generation,
        })
    }

    /// The next hops of a message that was read to be sent, where the disk has others. From now on they count as written.
    pub(in crate::engine) fn take_unwritten_route(
        &mut self,
        id: MessageId,
    ) -> Option<(Arc<[NextHop]>, RouteOrigin)> {
        let content = self.content_mut(id)?;
        let unwritten = std::mem::replace(&mut content.route_unwritten, false);
        unwritten.then(|| (Arc::clone(&content.message.next_hops), content.message.origin))
    }
}
