//! Which destination a message waits for under the current routing. Mail that the configuration routes moves to another destination when
//! the routing changes.
//!
//! A message is checked when its destination comes from an outdated routing: at once while it waits, otherwise when it comes back from what
//! is being done with it. Where the route depends on the recipients, the caller reads them.

use super::{Afterwards, Destination, Entry, Now, Phase, Queue, Route};
use crate::engine::World;
use crate::engine::content::Content;
use spool_core::{MessageId, NextHop, RouteOrigin, Routing, Timestamp};
use std::ops::Bound;
use std::sync::Arc;

/// Entries that are checked in one step.
pub(super) const LOOK: usize = 65_536;

/// A message that waits, and is to be read so that its route can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Stale(pub(in crate::engine) MessageId);

/// The result of redirecting a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Redirected {
    /// It has this destination already.
    Stays,
    /// It has another destination now.
    Moved,
    /// It is busy: it is checked again when it comes back.
    Later,
}

impl<W: World> Entry<W> {
    /// Whether its line is from another routing than that of `generation`.
    pub(super) fn is_stale(&self, generation: u32) -> bool {
        self.origin != RouteOrigin::Named && self.generation != generation
    }
}

impl<W: World> Queue<W> {
    /// Mail that the configuration routes goes by `routing` from now on. [`Queue::take_stale`] tells whose line is to be looked
    /// at.
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
        let generation = match whole {
            true => self.generation,
            false => self.generation.wrapping_sub(1),
        };
        Route {
            next_hops,
            origin,
            generation,
        }
    }

    /// Counts the routings.
    pub(in crate::engine) const fn generation(&self) -> u32 {
        self.generation
    }

    /// The current routing.
    pub(in crate::engine) const fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Takes back everything whose attempt has not begun and whose line is from another routing, as [`Queue::recall`] does.
    pub(in crate::engine) fn recall_stale(&mut self) -> Vec<(MessageId, Timestamp)> {
        let generation = self.generation;
        let with_stale = |slot: &Destination<W>| {
            let mut entries = slot.armed.iter().filter_map(|id| self.entries.get(id));
            entries.any(|entry| entry.is_stale(generation))
        };
        let slots = (0..).zip(&self.destinations);
        let stale: Vec<_> = slots
            .filter(|(_, slot)| with_stale(slot))
            .map(|(id, _)| id)
            .collect();
        stale.into_iter().flat_map(|id| self.take_armed(id)).collect()
    }

    /// The line of this message is not known to be right.
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

    /// Whether mail without a route is to be expected for a moment: the built-in sink has not started yet.
    fn is_routing_incomplete(&self) -> bool {
        matches!(&self.routing, Routing::ToBuiltInSink(sink) if sink.is_empty())
    }

    /// Whether the current routing has no route for this message.
    pub(in crate::engine) fn has_no_route(&self, id: MessageId) -> bool {
        let slot = |entry: &Entry<W>| self.at(entry.destination);
        let entry = self.entries.get(&id);
        let entry = entry.filter(|entry| !entry.is_stale(self.generation));
        !self.is_routing_incomplete() && entry.and_then(slot).is_some_and(Destination::is_nowhere)
    }

    /// How many messages have no route, once the routes of all were checked.
    pub(in crate::engine) fn without_route(&self) -> usize {
        let nowhere = self.by_hops.get(&[][..]).copied();
        let slot = nowhere.and_then(|id| self.at(id));
        match self.is_routing_incomplete() {
            true => 0,
            false => slot.map_or(0, |slot| slot.messages),
        }
    }

    /// Of the next `limit` due messages without a route, those whose time is over; they are taken from their line, to be given
    /// up. The others go to the end of it: their order means nothing, as each of them stands in another line once it has a route.
    pub(in crate::engine) fn take_expired_without_route(&mut self, now: Now, limit: usize) -> Vec<MessageId> {
        let Some(destination) = self.by_hops.get(&[][..]).copied() else {
            return Vec::new();
        };
        if self.paused || self.is_routing_incomplete() {
            return Vec::new();
        }
        let Some(slot) = self.slot(destination) else {
            return Vec::new();
        };
        let looked = limit.min(slot.line.len());
        slot.line.rotate_left(looked);
        let last = slot.line.iter().rev().take(looked).copied();
        let ids: Vec<MessageId> = last.collect();
        self.take_expired_of(&ids, destination, now)
    }

    /// A message has come back from what was done with it: gives it the route that it was given meanwhile, or notes that its
    /// route is to be looked at.
    pub(super) fn look_at_route(&mut self, id: MessageId, reroute: Option<Box<Route>>, now: Now) {
        if let Some(route) = reroute {
            self.set_route(id, &route, true, now);
        }
        // Also one by the configuration that it was given: the routes may have changed since.
        if self.is_stale(id) {
            self.unlooked.push(id);
        }
    }

    /// Up to `limit` waiting messages behind `after`, in the order of their ids, whose line is to be looked at; and how far this
    /// has come, `None` at the end.
    pub(in crate::engine) fn take_stale(
        &mut self,
        after: Option<MessageId>,
        limit: usize,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut found = Vec::new();
        // Entries are cheap to look at, but not without end.
        for (id, entry) in self.entries.range((from, Bound::Unbounded)).take(LOOK) {
            last = Some(*id);
            if entry.is_stale(self.generation) && entry.phase.is_movable() {
                found.push(*id);
            }
            if found.len() >= limit {
                break;
            }
        }
        (found, last)
    }

    /// Up to `limit` messages behind `after`, in the order of their ids, that were spooled at this time; and how far this has come,
    /// `None` at the end.
    pub(crate) fn spooled_at(
        &self,
        at: Timestamp,
        after: MessageId,
        limit: usize,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        let (mut found, mut last) = (Vec::new(), None);
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        for (id, entry) in self.entries.range(behind).take(LOOK) {
            last = Some(*id);
            if entry.spooled_at == at {
                found.push(*id);
            }
            if found.len() >= limit {
                break;
            }
        }
        (found, last)
    }

    /// Up to `limit` messages that came back and whose route must be checked.
    pub(in crate::engine) fn take_unlooked(&mut self, limit: usize) -> Vec<MessageId> {
        let rest = self.unlooked.len().saturating_sub(limit);
        self.unlooked.split_off(rest)
    }

    /// Puts a waiting message into the line of the routing of now, if that does not depend on its recipients; `Err`: it does, and
    /// the message is to be read.
    pub(in crate::engine) fn look(&mut self, id: MessageId, now: Now) -> Result<Redirected, Stale> {
        let Some(entry) = self.entries.get(&id) else {
            return Ok(Redirected::Stays);
        };
        let (origin, destination) = (entry.origin, entry.destination);
        let Some(current) = self.next_hops(destination).cloned() else {
            return Ok(Redirected::Stays);
        };
        match self.routing.without_recipients(origin, &current) {
            Some(next_hops) => Ok(self.redirect(id, &next_hops, now)),
            None => Err(Stale(id)),
        }
    }

    /// A message was added with the next hops of a former routing. If the start of its attempt was written with the add, returns when the
    /// message was spooled: the caller takes the start back and then calls [`Queue::recalled`].
    pub(in crate::engine) fn added_by_former(&mut self, id: MessageId) -> Option<Timestamp> {
        self.make_stale(id);
        let entry = self.entries.get(&id)?;
        if !entry.is_stale(self.generation) {
            return None;
        }
        let spooled_at = entry.spooled_at;
        if !matches!(entry.phase, Phase::Armed(..)) {
            self.unlooked.push(id);
            return None;
        }
        self.set(id, Phase::Settling(None, Afterwards::default()));
        Some(spooled_at)
    }

    /// Whether the route of a message that came back must still be checked.
    pub(in crate::engine) fn has_unlooked(&self) -> bool {
        !self.unlooked.is_empty()
    }

    /// Moves a waiting message to the destination `next_hops`, which the current routing gives.
    pub(in crate::engine) fn redirect(
        &mut self,
        id: MessageId,
        next_hops: &Arc<[NextHop]>,
        now: Now,
    ) -> Redirected {
        if !self.phase(id).is_some_and(Phase::is_movable) {
            return Redirected::Later;
        }
        self.redirect_any(id, next_hops, now)
    }

    /// The same for a message that was read to be sent, before the start of its attempt is written.
    pub(in crate::engine) fn redirect_asked(
        &mut self,
        id: MessageId,
        next_hops: &Arc<[NextHop]>,
        now: Now,
    ) -> Redirected {
        if !matches!(self.phase(id), Some(Phase::Asking(..))) {
            return Redirected::Later;
        }
        self.redirect_any(id, next_hops, now)
    }

    fn redirect_any(&mut self, id: MessageId, next_hops: &Arc<[NextHop]>, now: Now) -> Redirected {
        let generation = self.generation;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.generation = generation;
        }
        match self.move_to(id, next_hops, now) {
            true => Redirected::Moved,
            false => Redirected::Stays,
        }
    }

    /// Moves a message to the line for `next_hops`; `false` when it stands there. One that is about to be sent lines up there.
    fn move_to(&mut self, id: MessageId, next_hops: &Arc<[NextHop]>, now: Now) -> bool {
        let Some(from) = self.entries.get(&id).map(|entry| entry.destination) else {
            return false;
        };
        if self.next_hops(from) == Some(next_hops) {
            return false;
        }
        let to = self.enlist(next_hops);
        // It leaves the counts of one destination and enters those of the other.
        let Some(mut old) = self.set(id, Phase::Claimed) else {
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
        if held_up && matches!(old, Phase::Ready(_) | Phase::Asking(..)) {
            old = Phase::Ready(None);
        } else if let Phase::Asking(content, _) = old {
            old = Phase::Ready(Some(content));
        }
        self.set(id, old);
        self.delist(from);
        true
    }

    /// Moves a frozen message to the destination of the first of its routes. It is checked again before it is sent.
    pub(in crate::engine) fn redirect_frozen(
        &mut self,
        id: MessageId,
        next_hops: &Arc<[NextHop]>,
        now: Now,
    ) -> Redirected {
        let redirected = self.redirect(id, next_hops, now);
        self.make_stale(id);
        redirected
    }

    /// Gives a message that an operation has, or that has come back, another route; `told`: an event has told of it.
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

    /// Whether the route of a message is news for those who follow the events. The built-in sink has another port in each run: that is
    /// none. From now on it is told.
    pub(in crate::engine) fn take_route_news(&mut self, id: MessageId) -> bool {
        let entry = self.entries.get_mut(&id);
        let entry = entry.filter(|entry| entry.origin == RouteOrigin::Configured);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.route_told, true))
    }

    /// Claims a message that was read to be sent and is to be divided first.
    pub(in crate::engine) fn claim_asked(&mut self, id: MessageId) -> Option<Box<Content>> {
        if !matches!(self.phase(id), Some(Phase::Asking(..))) {
            return None;
        }
        match self.set(id, Phase::Claimed) {
            Some(Phase::Asking(content, _)) => Some(content),
            Some(_) | None => None,
        }
    }

    /// The next hops that a message has when what is being done with it has ended, where it was given others meanwhile.
    pub(crate) fn noted_route(&self, id: MessageId) -> Option<Arc<[NextHop]>> {
        match self.phase(id)? {
            Phase::Running(_, _, noted) | Phase::Settling(_, noted) => {
                noted.reroute.as_ref().map(|route| Arc::clone(&route.next_hops))
            }
            Phase::Waiting(_)
            | Phase::Ready(_)
            | Phase::Reading(_)
            | Phase::Asking(..)
            | Phase::Arming(_)
            | Phase::Armed(..)
            | Phase::Claimed
            | Phase::Frozen => None,
        }
    }

    /// The route was not written; `news`: nor was the event that was to tell of it.
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
        let content = self.entries.get_mut(&id)?.phase.content_mut()?;
        let unwritten = std::mem::replace(&mut content.route_unwritten, false);
        unwritten.then(|| (Arc::clone(&content.message.next_hops), content.message.origin))
    }
}
