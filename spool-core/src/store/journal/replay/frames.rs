//! How each frame of the journal changes a replay.

use super::live::{InFlight, Live, NEVER, Route};
use super::pending::PendingEvent;
use super::state::Replay;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::frozen::{Frozen, FrozenKind};
use crate::id::MessageId;
use crate::key::KeyDigest;
use crate::message::{MessageState, Status};
use crate::reason::frozen_kind;
use crate::store::change::{Addition, Conclusion, NewMessage, Outcome};
use crate::store::journal::frame::{Header, Kind, Place};
use crate::store::journal::index::{Entry, weight};
use crate::store::journal::record::{
    self, FinishRecord, MarkRecord, NoteRecord, NotedEvent, RouteRecord, StateRecord,
};
use crate::store::layout::Seq;
use crate::store::types::{LoggedKeys, RememberedKey};
use std::time::Duration;

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Events kept for the event log; the log is bounded too.
const MAX_PENDING_EVENTS: usize = 262_144;

impl Replay {
    /// Applies one frame. An error says what is wrong with its payload; then nothing was changed.
    pub(super) fn frame(&mut self, place: Place, header: Header, payload: &[u8]) -> Result<(), String> {
        let small = matches!(header.kind, Kind::Mark | Kind::State | Kind::Route);
        self.index.wrote(place.seq, header.frame_len(), small);
        match header.kind {
            Kind::Add => self.add(place, record::decode(header, payload)?, header),
            Kind::Move => self.moved(place, record::decode(header, payload)?, header),
            Kind::Mark => {
                let mark: MarkRecord<'_> = record::decode(header, payload)?;
                self.saw(mark.id);
                if self.index.mark(mark.id, place) {
                    let frozen = mark.frozen.as_ref().as_deref().map(|frozen| frozen.why.kind());
                    self.set(mark.id, mark.status, frozen, mark.in_flight, mark.wait());
                }
                self.push_events(mark.id, mark.events.into_owned(), mark.frozen.as_ref().as_deref());
            }
            Kind::State => {
                let StateRecord { id, state, events } = record::decode(header, payload)?;
                self.saw(id);
                self.state(id, &state, place);
                self.push_events(id, events.into_owned(), state.frozen.as_deref());
            }
            Kind::Route => {
                let route: RouteRecord<'_> = record::decode(header, payload)?;
                self.saw(route.id);
                if self.index.route(route.id, place) {
                    let hops = self.intern((route.next_hops, route.origin));
                    if let Some(live) = self.live.get_mut(&route.id) {
                        live.hops = hops;
                    }
                    if let Some(begun) = self.in_flight.get_mut(&route.id) {
                        begun.rerouted = true;
                    }
                }
                self.push_events(route.id, route.events.into_owned(), None);
            }
            Kind::Finish => {
                let finish: FinishRecord<'_> = record::decode(header, payload)?;
                self.saw(finish.id);
                // Before the entry is removed.
                self.push_events(finish.id, finish.events.into_owned(), None);
                self.finish(finish.id, place.seq);
            }
            Kind::Note => {
                let note: NoteRecord = record::decode(header, payload)?;
                for event in note.events.into_iter().map(NotedEvent::event) {
                    if let Some(id) = event.id {
                        self.saw(id);
                    }
                    self.push_event(event.seq, PendingEvent::complete(event));
                }
            }
            Kind::Gap => {}
        }
        Ok(())
    }

    fn state(&mut self, id: MessageId, state: &MessageState, place: Place) {
        if !self.index.state(id, place) {
            return;
        }
        let frozen = frozen_kind(state);
        self.set(id, state.status, frozen, state.in_flight, state.retry_wait());
        if let Some(live) = self.live.get_mut(&id) {
            live.expires_at = state.expires_at.unwrap_or(NEVER);
            live.history = narrow(state.footprint());
        }
    }

    fn conclude(&mut self, concluded: Conclusion, events: Vec<Event>, place: Place) {
        let id = concluded.id;
        match concluded.outcome {
            Outcome::State(state) => {
                self.state(id, &state, place);
                self.push_events(id, events, state.frozen.as_deref());
            }
            Outcome::Finish(_) => {
                // Before the entry is removed.
                self.push_events(id, events, None);
                self.finish(id, place.seq);
            }
        }
    }

    fn moved(&mut self, place: Place, add: Addition, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        let related = add.related.len() + add.messages.len();
        for (section, message) in (0..).zip(add.messages) {
            self.saw(message.id);
            self.index.relocate(message.id, place, section, weight);
            self.remember(message, related, add.spooled_at, header);
        }
    }

    /// `related`: the number of ids in the list that the messages of the add share.
    fn remember(&mut self, message: NewMessage, related: usize, spooled_at: Timestamp, header: Header) {
        let history = message.state.as_ref().map_or(0, |state| state.footprint());
        let related = u64::try_from(related * size_of::<MessageId>()).unwrap_or(u64::MAX);
        let state = message.state.map(|state| {
            (
                state.status,
                frozen_kind(&state),
                state.in_flight,
                state.expires_at,
                state.retry_wait(),
            )
        });
        let expires_at = message
            .section
            .retry
            .expire_after
            .map(|span| spooled_at.after(span));
        let frozen = message.frozen.as_deref().map(|frozen| frozen.why.kind());
        let (status, frozen, in_flight, expires_at, wait) =
            state.unwrap_or((message.status, frozen, message.in_flight, expires_at, None));
        let live = Live {
            due: Timestamp::default(),
            frozen: None,
            wait: None,
            spooled_at,
            expires_at: expires_at.unwrap_or(NEVER),
            hops: self.intern((message.section.next_hops, message.section.origin)),
            body_size: header.body_len,
            fixed: narrow(message.section.envelope.footprint().saturating_add(related)),
            history: narrow(history),
        };
        self.live.insert(message.id, live);
        self.set(message.id, status, frozen, in_flight, wait);
    }

    fn add(&mut self, place: Place, add: Addition, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        let ids = add.messages.iter().map(|message| message.id).collect();
        if let Some(key) = add.key {
            let at = add.spooled_at;
            let is_new = |keys: &LoggedKeys| !keys.contains(&(KeyDigest::of(&key.key), at));
            if self.logged.keys.as_ref().is_some_and(is_new) {
                self.keys
                    .push(RememberedKey::new(key.key, key.fingerprint, ids, at));
            }
        }
        let related = add.related.len() + add.messages.len();
        let mut events = add.events.into_iter();
        for (section, message) in (0..).zip(add.messages) {
            self.saw(message.id);
            if let Some(event) = events.next() {
                let entry = Entry {
                    add: place,
                    section,
                    weight,
                    state: None,
                    mark: None,
                    route: None,
                };
                self.push_event(event.seq, PendingEvent::of(event, message.id, entry));
            }
            if self.index.add(message.id, place, section, weight) {
                self.remember(message, related, add.spooled_at, header);
            }
        }
        if let Some(concluded) = add.conclusion {
            self.saw(concluded.id);
            self.conclude(concluded, events.collect(), place);
        }
    }

    /// `frozen`: the reason for a freeze, if the frame has it.
    fn push_events(&mut self, id: MessageId, events: Vec<Event>, frozen: Option<&Frozen>) {
        let last = events.last().map_or(0, |event| event.seq);
        self.last_number = self.last_number.max(last);
        let Some(entry) = self.index.get(id) else { return };
        for mut event in events {
            event.reason = frozen
                .filter(|_| event.kind == EventKind::Frozen)
                .map(ToString::to_string);
            self.push_event(event.seq, PendingEvent::of(event, id, entry));
        }
    }

    fn push_event(&mut self, seq: u64, event: PendingEvent) {
        self.last_event = self.last_event.max(seq);
        self.last_number = self.last_number.max(seq);
        if seq > self.logged.events {
            self.pending_events.push_back(event);
        }
        if self.pending_events.len() > MAX_PENDING_EVENTS {
            self.pending_events.pop_front();
        }
    }

    fn finish(&mut self, id: MessageId, seq: Seq) {
        if self.index.finish(id, seq).is_some() {
            self.live.remove(&id);
            self.in_flight.remove(&id);
        }
    }

    fn set(
        &mut self,
        id: MessageId,
        status: Status,
        frozen: Option<FrozenKind>,
        in_flight: Option<Timestamp>,
        wait: Option<Duration>,
    ) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.set(status, frozen, wait);
        match in_flight {
            Some(at) => {
                let rerouted = false;
                let begun = self.in_flight.entry(id).or_insert(InFlight { at, rerouted });
                begun.at = at;
            }
            None => drop(self.in_flight.remove(&id)),
        }
    }

    fn saw(&mut self, id: MessageId) {
        self.last_id = self.last_id.max(Some(id));
    }

    /// The number of a route; most messages share theirs.
    fn intern(&mut self, route: Route) -> u32 {
        let next = u32::try_from(self.hops.len()).unwrap_or(u32::MAX);
        *self.hops.entry(route).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_events_are_bounded() {
        let mut replay = Replay::default();
        let last = MAX_PENDING_EVENTS as u64 + 5;
        for seq in 1..=last {
            replay.push_event(
                seq,
                PendingEvent::complete(Event::new(seq, Timestamp(0), EventKind::Ping)),
            );
        }
        assert_eq!(replay.pending_events.len(), MAX_PENDING_EVENTS);
        let first = replay.pending_events.pop_front();
        assert!(first.is_some_and(|first| first.event.seq == 6));
        assert_eq!(replay.last_event, last);
    }
}
