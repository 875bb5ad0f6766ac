//! Dividing a message whose recipients belong to several routes: one add spools the others as messages of their own and takes them from the
//! first one, in one frame.

use super::add::spooled;
use super::content::Size;
use super::queue::{Known, Route};
use super::tag::{Divided, Tag};
use super::unwritten::NO_ROOM_PAUSE;
use super::work::Work;
use super::{Engine, World};
use bytes::Bytes;
use spool_core::store::{Addition, Change, Conclusion, NewMessage, Outcome, StoreError};
use spool_core::{
    EventKind, Held, Message, MessageId, MessageState, Part, RecipientIndex, RetryPolicy, RouteGroup,
    Routing, Section, Status, Timestamp, parts_for, state_without,
};
use std::sync::Arc;

/// Groups of recipients that are taken from a message at once, and the bytes of memory of their messages; the others stay with it for the
/// next time.
const MAX_PARTS: usize = 256;
const PARTS_BYTES: u64 = 1 << 20;

impl<W: World> Engine<W> {
    /// Whether messages may be divided: not for a while after the disk had no room for the parts.
    pub(super) fn has_room_to_divide(&self) -> bool {
        self.now.inside >= self.looking.no_room_until
    }

    /// Starts to divide the messages that are to be divided.
    pub(super) fn divide_on(&mut self) {
        if self.has_room_to_divide() {
            let ids = std::mem::take(&mut self.looking.several);
            self.start_own(Work::Divide, ids.into_iter().collect());
        }
    }

    /// Divides a claimed message and returns it to the queue.
    pub(super) fn divide(&mut self, mut message: Message, body: Bytes, mut held: Held) {
        let id = message.id;
        let mut groups = groups(&self.queue.routing, &message);
        let rest = groups.split_off(groups.len().min(MAX_PARTS + 1));
        let (Some((first, others)), Some(before)) = (groups.split_first(), self.queue.before(id)) else {
            return self.give_back(id, None);
        };
        let route = |whole| {
            let next_hops = Arc::clone(&first.next_hops);
            self.queue.route(next_hops, message.origin, whole)
        };
        if before == Status::Frozen || others.is_empty() {
            let route = route(others.is_empty());
            self.queue.set_route(id, &route, false, self.now);
            return self.give_back(id, None);
        }
        let recipients: Vec<&[RecipientIndex]> =
            others.iter().map(|group| group.recipients.as_slice()).collect();
        let parts = parts_for(&message, &recipients, PARTS_BYTES);
        let rest = route(rest.is_empty() && parts.len() == others.len());
        let others: Vec<(&RouteGroup, Part)> = others.iter().zip(parts).collect();
        self.set_right(&mut message);
        let (addition, parts) = self.addition(message, body, before, others, &rest);
        held.resize(held.bytes().saturating_add(built(&addition)));
        let divided = Divided {
            id,
            rest,
            parts,
            _held: held,
        };
        self.commit(Change::Add(addition), Tag::Divided(divided), true);
    }

    /// The add that spools a message for each of `others`, which has its part, and takes their recipients from `message`; and what the queue
    /// has to know of them.
    fn addition(
        &mut self,
        mut message: Message,
        body: Bytes,
        before: Status,
        others: Vec<(&RouteGroup, Part)>,
        rest: &Route,
    ) -> (Addition, Vec<Known>) {
        message.state.set_status(before, None);
        let (mut messages, mut parts, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (group, (envelope, mut state)) in others {
            state.set_status(before, None);
            state.expires_at = message.state.expires_at;
            let new = self.new_part(&message, group, (envelope, state));
            parts.push(Known {
                id: new.id,
                destination: self.queue.enlist(&group.next_hops),
                spooled_at: message.spooled_at,
                size: Size::new(message.body_size, footprint(&new)),
                expires_at: message.state.expires_at,
                origin: message.origin,
                generation: self.queue.generation,
            });
            messages.push(new);
            gone.extend_from_slice(&group.recipients);
        }
        let now = self.now.wall;
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
        (addition, parts)
    }

    fn new_part(&mut self, message: &Message, group: &RouteGroup, (envelope, state): Part) -> NewMessage {
        NewMessage {
            id: self.ids.next(self.now.wall),
            section: Section {
                envelope,
                next_hops: Arc::clone(&group.next_hops),
                origin: message.origin,
                retry: retry_policy(&state, message.spooled_at),
            },
            status: state.status,
            frozen: None,
            in_flight: None,
            state: Some(Box::new(state)),
        }
    }

    /// The disk has answered for a message that was divided.
    pub(super) fn divided(&mut self, addition: &Addition, divided: Divided, result: Result<(), StoreError>) {
        let Divided { id, rest, parts, .. } = divided;
        if let Err(error) = result {
            for part in parts {
                self.queue.delist(part.destination);
            }
            return self.not_divided(id, &error);
        }
        let before = self.queue.before(id);
        for part in parts {
            self.queue
                .add_claimed(part, before.unwrap_or(Status::Frozen), self.now);
            self.give_back(part.id, None);
        }
        let parts = addition.messages.len() + 1;
        tracing::info!(%id, flow = ?addition.flows, parts, "its recipients go to several routes now: it is divided");
        self.looking.divided += 1;
        self.queue.set_route(id, &rest, true, self.now);
        self.give_back(id, None);
    }

    /// It stays as it is, and is divided later.
    pub(super) fn not_divided(&mut self, id: MessageId, error: &StoreError) {
        if matches!(error, StoreError::Damaged { .. }) {
            return self.unreadable(id, error);
        }
        tracing::warn!(%id, %error, "cannot be divided among its routes now; it waits");
        self.looking.no_room_until = self.now.inside.after(NO_ROOM_PAUSE);
        self.give_back(id, None);
    }
}

/// The retry policy that a message has left.
pub(super) fn retry_policy(state: &MessageState, spooled_at: Timestamp) -> RetryPolicy {
    RetryPolicy {
        intervals: state.schedule.intervals.clone(),
        repeat_last: state.schedule.repeat_last,
        expire_after: state.expires_at.map(|at| at.since(spooled_at)),
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
