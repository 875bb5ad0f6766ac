//! What the frames of a journal do to a replay, one after the other.

use super::super::RememberedKey;
use super::super::frame::{Header, Kind};
use super::super::index::{Entry, weight};
use super::super::key_log::Logged;
use super::super::record::{
    self, AddRecord, ConclusionRecord, FinishRecord, MarkRecord, MessageRecord, NoteRecord, NotedEvent,
    OutcomeRecord, RouteRecord, StateRecord, Telling,
};
use super::super::segment::{Place, Seq};
use super::Replay;
use super::live::{InFlight, Live, NEVER, Route};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::frozen::{Frozen, FrozenKind, frozen_kind};
use crate::id::MessageId;
use crate::key::NameDigest;
use crate::message::{MessageState, Status};
use std::time::Duration;

/// An event to be told again.
#[derive(Debug)]
pub(in crate::store) enum Untold {
    /// Its message is, or was, in the journal.
    OfMessage {
        seq: u64,
        at: Timestamp,
        kind: EventKind,
        id: MessageId,
        entry: Entry,
        /// Why, when it is frozen.
        reason: Option<String>,
    },
    Whole(Event),
}

fn narrow(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The most events that are told again: the log is bounded as well.
const MAX_UNTOLD: usize = 262_144;

impl Replay {
    /// Applies one frame. An error says what is wrong with its payload; nothing is changed then.
    pub(super) fn frame(&mut self, place: Place, header: Header, payload: &[u8]) -> Result<(), String> {
        let small = matches!(header.kind, Kind::Mark | Kind::State | Kind::Route);
        self.index.wrote(place.seq, header.frame_len(), small);
        match header.kind {
            Kind::Add => self.add(place, record::decode(header, payload)?, header),
            Kind::Move => self.moved(place, record::decode(header, payload)?, header),
            Kind::Mark => {
                let mark: MarkRecord = record::decode(header, payload)?;
                self.saw(mark.id);
                if self.index.mark(mark.id, place) {
                    let frozen = mark.frozen.as_deref().map(|frozen| frozen.why.kind());
                    self.set(mark.id, mark.status, frozen, mark.in_flight, mark.wait());
                }
                self.tell(mark.id, mark.telling, mark.frozen.as_deref());
            }
            Kind::State => {
                let StateRecord { id, state, telling } = record::decode(header, payload)?;
                self.saw(id);
                self.state(id, &state, place);
                self.tell(id, telling, state.frozen.as_deref());
            }
            Kind::Route => {
                let route: RouteRecord = record::decode(header, payload)?;
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
                self.tell(route.id, route.telling, None);
            }
            Kind::Finish => {
                let finish: FinishRecord = record::decode(header, payload)?;
                self.saw(finish.id);
                // While it is still known where its add stands.
                self.tell(finish.id, finish.telling, None);
                self.finish(finish.id, place.seq);
            }
            Kind::Note => {
                let note: NoteRecord = record::decode(header, payload)?;
                for event in note.events.into_iter().map(NotedEvent::event) {
                    if let Some(id) = event.id {
                        self.saw(id);
                    }
                    self.untold(event.seq, Untold::Whole(event));
                }
            }
            Kind::Hole => {}
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

    fn conclude(&mut self, concluded: ConclusionRecord, telling: Telling, place: Place) {
        let id = concluded.id;
        match concluded.outcome {
            OutcomeRecord::State(state) => {
                self.state(id, &state, place);
                self.tell(id, telling, state.frozen.as_deref());
            }
            OutcomeRecord::Finish(_) => {
                // While it is still known where its add stands.
                self.tell(id, telling, None);
                self.finish(id, place.seq);
            }
        }
    }

    fn moved(&mut self, place: Place, add: AddRecord, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        let related = add.related.len() + add.messages.len();
        for (section, message) in (0..).zip(add.messages) {
            self.saw(message.id);
            self.index.relocate(message.id, place, section, weight);
            self.remember(message, related, add.spooled_at, header);
        }
    }

    /// `related`: how many ids the list that it shares with the others of its add has.
    fn remember(&mut self, message: MessageRecord, related: usize, spooled_at: Timestamp, header: Header) {
        let history = message.state.as_ref().map_or(0, MessageState::footprint);
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
        let expires_at = message.retry.expire_after.map(|span| spooled_at.after(span));
        let frozen = message.frozen.as_deref().map(|frozen| frozen.why.kind());
        let (status, frozen, in_flight, expires_at, wait) =
            state.unwrap_or((message.status, frozen, message.in_flight, expires_at, None));
        let live = Live {
            due: Timestamp::default(),
            frozen: None,
            wait: None,
            spooled_at,
            expires_at: expires_at.unwrap_or(NEVER),
            hops: self.intern((message.next_hops, message.origin)),
            body_size: header.body_len,
            fixed: narrow(message.envelope.footprint().saturating_add(related)),
            history: narrow(history),
        };
        self.live.insert(message.id, live);
        self.set(message.id, status, frozen, in_flight, wait);
    }

    fn add(&mut self, place: Place, add: AddRecord, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        let (ids, mut kinds) = (
            add.messages.iter().map(|message| message.id).collect(),
            add.telling.kinds.into_iter(),
        );
        if let Some(key) = add.key {
            let at = add.spooled_at;
            let is_new = |keys: &Logged| !keys.contains(&(NameDigest::of(&key.name), at));
            if self.told.keys.as_ref().is_some_and(is_new) {
                self.keys.push(RememberedKey {
                    key: key.name,
                    fingerprint: key.fingerprint,
                    ids,
                    at,
                });
            }
        }
        let (told_at, added) = (add.telling.at, add.messages.len() as u64);
        let related = add.related.len() + add.messages.len();
        for ((section, message), seq) in (0..).zip(add.messages).zip(add.telling.seq..) {
            self.saw(message.id);
            if let Some(kind) = kinds.next() {
                let entry = Entry {
                    add: place,
                    section,
                    weight,
                    state: None,
                    mark: None,
                    route: None,
                };
                let (id, at) = (message.id, add.telling.at);
                self.untold(
                    seq,
                    Untold::OfMessage {
                        seq,
                        at,
                        kind,
                        id,
                        entry,
                        reason: None,
                    },
                );
            }
            if self.index.add(message.id, place, section, weight) {
                self.remember(message, related, add.spooled_at, header);
            }
        }
        if let Some(concluded) = add.conclusion {
            let telling = Telling {
                seq: add.telling.seq + added,
                at: told_at,
                kinds: kinds.collect(),
            };
            self.saw(concluded.id);
            self.conclude(concluded, telling, place);
        }
    }

    /// `frozen`: why the message is, when the frame says so.
    fn tell(&mut self, id: MessageId, telling: Telling, frozen: Option<&Frozen>) {
        let last = telling.seq + telling.kinds.len() as u64;
        self.last_number = self.last_number.max(last.saturating_sub(1));
        let Some(entry) = self.index.get(id) else { return };
        for (seq, kind) in (telling.seq..).zip(telling.kinds) {
            let at = telling.at;
            let reason = frozen
                .filter(|_| kind == EventKind::Frozen)
                .map(ToString::to_string);
            self.untold(
                seq,
                Untold::OfMessage {
                    seq,
                    at,
                    kind,
                    id,
                    entry,
                    reason,
                },
            );
        }
    }

    fn untold(&mut self, seq: u64, untold: Untold) {
        self.last_event = self.last_event.max(seq);
        self.last_number = self.last_number.max(seq);
        if seq > self.told.events {
            self.untold.push_back(untold);
        }
        if self.untold.len() > MAX_UNTOLD {
            self.untold.pop_front();
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

    /// The number of a route: most messages share theirs with others.
    fn intern(&mut self, route: Route) -> u32 {
        let next = u32::try_from(self.hops.len()).unwrap_or(u32::MAX);
        *self.hops.entry(route).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_events_are_told_again_than_the_newest_so_many() {
        let mut replay = Replay::default();
        let last = MAX_UNTOLD as u64 + 5;
        for seq in 1..=last {
            replay.untold(seq, Untold::Whole(Event::new(seq, Timestamp(0), EventKind::Ping)));
        }
        assert_eq!(replay.untold.len(), MAX_UNTOLD);
        let first = replay.untold.pop_front();
        assert!(matches!(first, Some(Untold::Whole(event)) if event.seq == 6));
        assert_eq!(replay.last_event, last);
    }
}
