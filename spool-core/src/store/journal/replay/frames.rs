//! How each frame of the journal changes a replay.

use super::live::{InFlight, Live, NEVER, Route};
use super::pending::PendingEvent;
use super::state::Replay;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::frozen::{Frozen, FrozenKind};
use crate::id::MessageId;
use crate::key::KeyDigest;
use crate::message::{MessageState, Section, Status};
use crate::reason::frozen_kind;
use crate::store::change::{Addition, Change, Outcome};
use crate::store::journal::frame::{Header, Place};
use crate::store::journal::index::Entry;
use crate::store::journal::record;
use crate::store::types::RememberedKey;
use std::time::Duration;

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Events kept for the event log; the log is bounded too.
const MAX_PENDING_EVENTS: usize = 262_144;

impl Replay {
    /// Applies one frame. An error says what is wrong with its payload; then nothing was changed.
    pub(super) fn frame(&mut self, place: Place, header: Header, payload: &[u8]) -> Result<(), String> {
        let mut change = record::decode(header, payload)?;
        let events = std::mem::take(change.events_mut());
        let written_at = events.first().map(|event| event.at);
        // Before the index forgets a message that ends.
        self.collect(&change, events, place);
        self.index.apply(&change, place, header.frame_len());
        self.update(change, place, header.body_len, written_at);
        Ok(())
    }

    /// Collects the ids and the events of a change.
    fn collect(&mut self, change: &Change, events: Vec<Event>, place: Place) {
        match change {
            Change::Add(add) | Change::Move(add) => {
                let mut events = events.into_iter();
                for (section, message) in (0..).zip(&add.messages) {
                    self.saw(message.id);
                    if let Some(event) = events.next() {
                        self.push_event(event, Some((message.id, Entry::added(place, section))));
                    }
                }
                if let Some(concluded) = &add.conclusion {
                    let frozen = match &concluded.outcome {
                        Outcome::State(state) => state.frozen.as_deref(),
                        Outcome::Finish(_) => None,
                    };
                    self.push_events(concluded.id, events.collect(), frozen);
                }
            }
            Change::Mark { id, frozen, .. } => self.push_events(*id, events, frozen.as_deref()),
            Change::State { id, state, .. } => self.push_events(*id, events, state.frozen.as_deref()),
            Change::Route { id, .. } | Change::Finish { id, .. } => self.push_events(*id, events, None),
            Change::Note { .. } => {
                for event in events {
                    self.last_id = self.last_id.max(event.id);
                    self.push_event(event, None);
                }
            }
        }
    }

    /// Notes what a change, which the index has, means for the live messages.
    fn update(&mut self, change: Change, place: Place, body_size: u32, written_at: Option<Timestamp>) {
        match change {
            Change::Add(add) | Change::Move(add) => self.add(add, place, body_size),
            Change::Mark {
                id,
                status,
                frozen,
                in_flight,
                ..
            } => {
                let wait = match (status, written_at) {
                    (Status::SendAt(due), Some(at)) => Some(due.since(at)),
                    (Status::SendAt(_) | Status::Frozen, _) => None,
                };
                self.set(
                    id,
                    status,
                    frozen.map(|frozen| frozen.why.kind()),
                    in_flight,
                    wait,
                );
            }
            Change::State { id, state, .. } => self.state(id, &state),
            Change::Route {
                id,
                next_hops,
                origin,
                ..
            } => {
                let hops = self.intern((next_hops, origin));
                if let Some(live) = self.live.get_mut(&id) {
                    live.hops = hops;
                }
                if let Some(begun) = self.in_flight.get_mut(&id) {
                    begun.rerouted = true;
                }
            }
            Change::Finish { id, .. } => self.finish(id),
            Change::Note { .. } => {}
        }
    }

    fn add(&mut self, add: Addition, place: Place, body_size: u32) {
        if let (Some(logged), Some(key)) = (&self.logged.keys, RememberedKey::of(&add))
            && !logged.contains(&(KeyDigest::of(&key.key), key.at))
        {
            self.keys.push(key);
        }
        // The messages of the add share the list of related ones.
        let related = (add.related.len() + add.messages.len()) * size_of::<MessageId>();
        let related = u64::try_from(related).unwrap_or(u64::MAX);
        for (section, message) in (0..).zip(add.messages) {
            // A message whose id is taken is not added.
            let kept = self.index.get(message.id).map(|entry| entry.kept);
            if kept.map(|kept| (kept.add, kept.section)) != Some((place, section)) {
                continue;
            }
            let Section {
                origin,
                next_hops,
                retry,
                envelope,
            } = message.section;
            let expires_at = retry.expire_after.map(|span| add.spooled_at.after(span));
            let live = Live {
                due: Timestamp::default(),
                frozen: None,
                wait: None,
                spooled_at: add.spooled_at,
                expires_at: expires_at.unwrap_or(NEVER),
                hops: self.intern((next_hops, origin)),
                body_size,
                fixed: narrow(envelope.footprint().saturating_add(related)),
                history: 0,
            };
            self.live.insert(message.id, live);
            match message.state {
                Some(state) => self.state(message.id, &state),
                None => {
                    let frozen = message.frozen.map(|frozen| frozen.why.kind());
                    self.set(message.id, message.status, frozen, message.in_flight, None);
                }
            }
        }
        match add.conclusion.map(|concluded| (concluded.id, concluded.outcome)) {
            Some((id, Outcome::State(state))) => self.state(id, &state),
            Some((id, Outcome::Finish(_))) => self.finish(id),
            None => {}
        }
    }

    fn state(&mut self, id: MessageId, state: &MessageState) {
        let frozen = frozen_kind(state);
        self.set(id, state.status, frozen, state.in_flight, state.retry_wait());
        if let Some(live) = self.live.get_mut(&id) {
            live.expires_at = state.expires_at.unwrap_or(NEVER);
            live.history = narrow(state.footprint());
        }
    }

    /// `frozen`: the reason for a freeze, if the frame has it.
    fn push_events(&mut self, id: MessageId, events: Vec<Event>, frozen: Option<&Frozen>) {
        self.saw(id);
        let last = events.last().map_or(0, |event| event.seq);
        self.last_number = self.last_number.max(last);
        let Some(entry) = self.index.get(id) else { return };
        for mut event in events {
            event.reason = frozen
                .filter(|_| event.kind == EventKind::Frozen)
                .map(ToString::to_string);
            self.push_event(event, Some((id, entry)));
        }
    }

    /// `message`: where the message is, if the event lacks its flows and envelope.
    fn push_event(&mut self, event: Event, message: Option<(MessageId, Entry)>) {
        self.last_event = self.last_event.max(event.seq);
        self.last_number = self.last_number.max(event.seq);
        if event.seq > self.logged.events {
            self.pending_events.push_back(PendingEvent { event, message });
        }
        if self.pending_events.len() > MAX_PENDING_EVENTS {
            self.pending_events.pop_front();
        }
    }

    fn finish(&mut self, id: MessageId) {
        self.live.remove(&id);
        self.in_flight.remove(&id);
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
            replay.push_event(Event::new(seq, Timestamp(0), EventKind::Ping), None);
        }
        assert_eq!(replay.pending_events.len(), MAX_PENDING_EVENTS);
        let first = replay.pending_events.pop_front();
        assert!(first.is_some_and(|first| first.event.seq == 6));
        assert_eq!(replay.last_event, last);
    }
}
