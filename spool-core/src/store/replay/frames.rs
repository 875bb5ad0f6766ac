//! What the frames of a journal do to a replay, one after the other.

use super::super::RememberedKey;
use super::super::frame::{Header, Kind};
use super::super::index::{Entry, weight};
use super::super::record::{
    self, AddRecord, FinishRecord, MarkRecord, MessageRecord, NoteRecord, NotedEvent, StateRecord, Telling,
};
use super::super::segment::{Place, Seq};
use super::Replay;
use super::live::{Live, NEVER};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::id::MessageId;
use crate::message::Status;
use crate::next_hop::NextHop;
use std::sync::Arc;
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
    },
    Whole(Event),
}

/// The most events that are told again: the log is bounded as well.
const MAX_UNTOLD: usize = 262_144;

impl Replay {
    /// Applies one frame. An error says what is wrong with its payload; nothing is changed then.
    pub(super) fn frame(&mut self, place: Place, header: Header, payload: &[u8]) -> Result<(), String> {
        let small = matches!(header.kind, Kind::Mark | Kind::State);
        self.index.wrote(place.seq, header.frame_len(), small);
        match header.kind {
            Kind::Add => self.add(place, record::decode(payload)?, header),
            Kind::Move => self.moved(place, record::decode(payload)?, header),
            Kind::Mark => {
                let mark: MarkRecord = record::decode(payload)?;
                self.saw(mark.id);
                if self.index.mark(mark.id, place) {
                    self.set(mark.id, mark.status, mark.in_flight, mark.wait());
                }
                self.tell(mark.id, mark.telling);
            }
            Kind::State => {
                let StateRecord { id, state, telling } = record::decode(payload)?;
                self.saw(id);
                if self.index.state(id, place) {
                    self.set(id, state.status, state.in_flight, state.retry_wait());
                    if let Some(live) = self.live.get_mut(&id) {
                        live.expires_at = state.expires_at.unwrap_or(NEVER);
                    }
                }
                self.tell(id, telling);
            }
            Kind::Finish => {
                let finish: FinishRecord = record::decode(payload)?;
                self.saw(finish.id);
                // While it is still known where its add stands.
                self.tell(finish.id, finish.telling);
                self.finish(finish.id, place.seq);
            }
            Kind::Note => {
                let note: NoteRecord = record::decode(payload)?;
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

    fn moved(&mut self, place: Place, add: AddRecord, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        for (section, message) in (0..).zip(add.messages) {
            self.saw(message.id);
            self.index.relocate(message.id, place, section, weight);
            self.remember(message, add.spooled_at, header);
        }
    }

    fn remember(&mut self, message: MessageRecord, spooled_at: Timestamp, header: Header) {
        let state = message.state.map(|state| {
            (
                state.status,
                state.in_flight,
                state.expires_at,
                state.retry_wait(),
            )
        });
        let expires_at = message.retry.expire_after.map(|span| spooled_at.after(span));
        let (status, in_flight, expires_at, wait) =
            state.unwrap_or((message.status, message.in_flight, expires_at, None));
        let live = Live {
            due: Timestamp::default(),
            frozen: false,
            wait: None,
            spooled_at,
            expires_at: expires_at.unwrap_or(NEVER),
            hops: self.intern(message.next_hops),
            body_size: header.body_len,
            footprint: u32::try_from(message.envelope.footprint()).unwrap_or(u32::MAX),
        };
        self.live.insert(message.id, live);
        self.set(message.id, status, in_flight, wait);
    }

    fn add(&mut self, place: Place, add: AddRecord, header: Header) {
        let weight = weight(header.frame_len(), add.messages.len());
        let (ids, mut kinds) = (
            add.messages.iter().map(|message| message.id).collect(),
            add.telling.kinds.into_iter(),
        );
        if let Some(key) = add.key {
            let at = add.spooled_at;
            self.keys.push(RememberedKey { key, ids, at });
        }
        for ((section, message), seq) in (0..).zip(add.messages).zip(add.telling.seq..) {
            self.saw(message.id);
            if let Some(kind) = kinds.next() {
                let entry = Entry {
                    add: place,
                    section,
                    weight,
                    state: None,
                    mark: None,
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
                    },
                );
            }
            if self.index.add(message.id, place, section, weight) {
                self.remember(message, add.spooled_at, header);
            }
        }
    }

    fn tell(&mut self, id: MessageId, telling: Telling) {
        let last = telling.seq + telling.kinds.len() as u64;
        self.last_number = self.last_number.max(last.saturating_sub(1));
        let Some(entry) = self.index.get(id) else { return };
        for (seq, kind) in (telling.seq..).zip(telling.kinds) {
            let at = telling.at;
            self.untold(
                seq,
                Untold::OfMessage {
                    seq,
                    at,
                    kind,
                    id,
                    entry,
                },
            );
        }
    }

    fn untold(&mut self, seq: u64, untold: Untold) {
        self.last_event = self.last_event.max(seq);
        self.last_number = self.last_number.max(seq);
        if seq > self.told {
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

    fn set(&mut self, id: MessageId, status: Status, in_flight: Option<Timestamp>, wait: Option<Duration>) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.set(status, wait);
        match in_flight {
            Some(at) => self.in_flight.insert(id, at),
            None => self.in_flight.remove(&id),
        };
    }

    fn saw(&mut self, id: MessageId) {
        self.last_id = self.last_id.max(Some(id));
    }

    /// The number of a list of next hops: most messages share theirs with others.
    fn intern(&mut self, hops: Arc<[NextHop]>) -> u32 {
        let next = u32::try_from(self.hops.len()).unwrap_or(u32::MAX);
        *self.hops.entry(hops).or_insert(next)
    }
}
