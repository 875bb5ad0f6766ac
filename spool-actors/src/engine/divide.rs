//! Dividing a message whose recipients belong to several routes: one add spools the others as messages of their own and takes them from the
//! first one, in one frame.

use super::add::spooled;
use super::content::Size;
use super::queue::{Claim, Known, Route, Verb};
use super::unwritten::NO_ROOM_PAUSE;
use super::{Content, DiskJob, Engine, Tag, World};
use crate::engine::DestinationId;
use bytes::Bytes;
use spool_core::store::{Addition, Change, Conclusion, NewMessage, Outcome, StoreError};
use spool_core::{
    EventKind, Held, Message, MessageId, Part, RecipientIndex, RetryPolicy, RouteGroup, Routing, Section,
    Status, Timestamp, parts_for, state_without,
};
use std::sync::Arc;

/// Messages that are divided in one step: their bodies are read.
const STEP_WITH_BODIES: usize = 16;
/// Groups of recipients that are taken from a message at once, and the bytes of memory of their messages; the others stay with it for the
/// next time.
const MAX_PARTS: usize = 256;
const PARTS_BYTES: u64 = 1 << 20;

/// A message that is being divided.
#[derive(Debug)]
pub(crate) struct Divided {
    pub(super) id: MessageId,
    pub(super) before: Status,
    /// Where the rest of it goes.
    pub(super) rest: Route,
    /// The lines of the others.
    pub(super) destinations: Vec<DestinationId>,
    /// The routing that they are from.
    pub(super) generation: u32,
    /// What all but the body takes, with the parts.
    pub(super) _held: Held,
}

impl<W: World> Engine<W> {
    /// Reads some of the messages that are to be divided.
    pub(super) fn divide_on(&mut self) {
        let now = self.now;
        if self.looking.several.is_empty() || now.inside < self.looking.no_room_until {
            return;
        }
        let mut taken = Vec::new();
        while let Some(id) = self.looking.several.pop_first() {
            let Some(held) = self.budget.read_now(self.queue.footprint(id, true)) else {
                // Memory comes back with mail that leaves.
                self.looking.several.insert(id);
                break;
            };
            // If it is busy, it is checked again when it comes back to the queue.
            if let Claim::Taken(before) = self.queue.claim(id, Verb::Reroute, now) {
                taken.push((id, before, held));
            }
            if taken.len() >= STEP_WITH_BODIES {
                break;
            }
        }
        if taken.is_empty() {
            return;
        }
        self.looking.reading = true;
        self.work(DiskJob::ReadWhole(taken));
    }

    /// Messages that are to be divided were read.
    pub(super) fn read_to_divide(
        &mut self,
        read: Vec<(MessageId, Status, Result<Box<Content>, StoreError>)>,
    ) {
        self.looking.reading = false;
        for (id, before, content) in read {
            match content {
                _ if self.is_over() => self.give_back(id, before),
                Ok(content) => self.divide(*content, before),
                Err(error) => self.not_divided(id, before, &error),
            }
        }
    }

    /// Divides a claimed message and returns it to the queue.
    pub(super) fn divide(&mut self, content: Content, before: Status) {
        let Content {
            mut message,
            body,
            mut held,
            ..
        } = content;
        let (id, now) = (message.id, self.now.wall);
        let mut groups = groups(self.queue.routing(), &message);
        let rest = groups.split_off(groups.len().min(MAX_PARTS + 1));
        let (first, others) = match groups.split_first() {
            Some((first, others)) if before != Status::Frozen && !others.is_empty() => (first, others),
            Some((first, others)) => {
                let next_hops = Arc::clone(&first.next_hops);
                let route = self.queue.route(next_hops, message.origin, others.is_empty());
                self.queue.set_route(id, &route, false, self.now);
                return self.give_back(id, before);
            }
            None => return self.give_back(id, before),
        };
        let recipients: Vec<&[RecipientIndex]> =
            others.iter().map(|group| group.recipients.as_slice()).collect();
        let parts = parts_for(&message, &recipients, PARTS_BYTES);
        let whole = rest.is_empty() && parts.len() == others.len();
        let others: Vec<(&RouteGroup, Part)> = others.iter().zip(parts).collect();
        let next_hops = Arc::clone(&first.next_hops);
        let route = self.queue.route(next_hops, message.origin, whole);
        let generation = self.queue.generation();
        self.set_right(&mut message);
        let (addition, destinations) = self.addition(message, body, before, others, &route, now);
        held.resize(held.bytes().saturating_add(built(&addition)));
        let divided = Divided {
            id,
            before,
            rest: route,
            destinations,
            generation,
            _held: held,
        };
        self.commit(Change::Add(addition), Tag::Divided(divided), true);
    }

    /// The add that spools a message for each of `others`, which has its part, and takes their recipients from `message`.
    fn addition(
        &mut self,
        mut message: Message,
        body: Bytes,
        before: Status,
        others: Vec<(&RouteGroup, Part)>,
        rest: &Route,
        now: Timestamp,
    ) -> (Addition, Vec<DestinationId>) {
        message.state.set_status(before, None);
        let (mut messages, mut destinations, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (group, (envelope, mut state)) in others {
            state.set_status(before, None);
            state.expires_at = message.state.expires_at;
            messages.push(self.new_part(&message, group, (envelope, state), now));
            destinations.push(self.queue.enlist(&group.next_hops));
            gone.extend_from_slice(&group.recipients);
        }
        let events = messages
            .iter()
            .map(|new| spooled(new, &message.flows, message.body_size, now));
        let rerouted = self.tell(EventKind::Rerouted(Arc::clone(&rest.next_hops)), &message);
        let state = Box::new(state_without(&message, &gone));
        let events = events.chain([rerouted]).collect();
        let addition = Addition {
            messages,
            body,
            flows: message.flows,
            parent: Some(message.id),
            related: message.related.iter().chain([message.id]).collect(),
            spooled_at: message.spooled_at,
            key: None,
            conclusion: Some(Conclusion {
                id: message.id,
                outcome: Outcome::State(state),
            }),
            events,
        };
        (addition, destinations)
    }

    fn new_part(
        &mut self,
        message: &Message,
        group: &RouteGroup,
        (envelope, state): Part,
        now: Timestamp,
    ) -> NewMessage {
        NewMessage {
            id: self.ids.next(now),
            section: Section {
                envelope,
                next_hops: Arc::clone(&group.next_hops),
                origin: message.origin,
                retry: RetryPolicy {
                    intervals: state.schedule.intervals.clone(),
                    repeat_last: state.schedule.repeat_last,
                    expire_after: state.expires_at.map(|at| at.since(message.spooled_at)),
                },
            },
            status: state.status,
            frozen: None,
            in_flight: None,
            state: Some(Box::new(state)),
        }
    }

    /// The disk has answered for a message that was divided.
    pub(super) fn divided(
        &mut self,
        addition: &Addition,
        divided: &Divided,
        result: &Result<(), StoreError>,
    ) {
        let Divided {
            id,
            before,
            rest,
            destinations,
            generation,
            ..
        } = divided;
        if let Err(error) = result {
            destinations
                .iter()
                .for_each(|destination| self.queue.delist(*destination));
            return self.not_divided(*id, *before, error);
        }
        let body_size = u64::try_from(addition.body.len()).unwrap_or(u64::MAX);
        for (new, destination) in addition.messages.iter().zip(destinations) {
            let state = new.state.as_deref();
            let expires_at = state.and_then(|state| state.expires_at);
            let size = Size::new(body_size, footprint(new));
            let known = Known {
                id: new.id,
                destination: *destination,
                spooled_at: addition.spooled_at,
                size,
                expires_at,
                origin: new.section.origin,
            };
            self.queue.back(known, self.now);
            if *generation != self.queue.generation() {
                self.queue.make_stale(new.id);
            }
            self.give_back(new.id, *before);
        }
        let parts = addition.messages.len() + 1;
        tracing::info!(%id, flow = ?addition.flows, parts, "its recipients go to several routes now: it is divided");
        self.looking.divided += 1;
        self.queue.set_route(*id, rest, true, self.now);
        self.give_back(*id, *before);
    }

    /// It stays as it is, and is divided later.
    fn not_divided(&mut self, id: MessageId, before: Status, error: &StoreError) {
        if matches!(error, StoreError::Damaged { .. }) {
            return self.unreadable(id, error);
        }
        tracing::warn!(%id, %error, "cannot be divided among its routes now; it waits");
        self.looking.no_room_until = self.now.inside.after(NO_ROOM_PAUSE);
        self.give_back(id, before);
    }
}

/// Bytes that a new message takes in memory beside its body.
fn footprint(new: &NewMessage) -> u64 {
    let history = new.state.as_ref().map_or(0, |state| state.footprint());
    new.section.envelope.footprint().saturating_add(history)
}

/// Bytes of memory that an add of a divided message takes beside the message itself.
fn built(addition: &Addition) -> u64 {
    let rest = match &addition.conclusion {
        Some(Conclusion {
            outcome: Outcome::State(state),
            ..
        }) => state.footprint(),
        Some(_) | None => 0,
    };
    addition
        .messages
        .iter()
        .map(footprint)
        .fold(rest, u64::saturating_add)
}

/// Where the recipients that are left go; of a message of which none is left, all that could be tried again.
pub(crate) fn groups(routing: &Routing, message: &Message) -> Vec<RouteGroup> {
    let state = &message.state;
    let of = |recipients: &[RecipientIndex]| {
        routing.groups(message.origin, &message.next_hops, &message.envelope, recipients)
    };
    match state.remaining.is_empty() {
        false => of(&state.remaining),
        true => {
            let failed: Vec<_> = state.failed.iter().map(|failed| failed.recipient).collect();
            of(&failed)
        }
    }
}
