//! Compaction: what is still needed of an old segment is copied to the end of the journal, so that the segment can be
//! deleted.
//!
//! It runs in small steps under the writer's lock, so that no commit comes between reading and writing a message. A
//! step is bounded in bytes, frames and time. After a crash a message may be in two places, of which the later one
//! counts. Compaction does not delete the segment: [`Store::maintain`](crate::store::Store::maintain) does, once
//! nothing in it is needed. A message that cannot be read stays where it is, and so does its segment.

use crate::id::MessageId;
use crate::message::{Message, Section};
use crate::store::change::{Addition, Change, NewMessage};
use crate::store::fs::is_shortage;
use crate::store::journal::frame::Place;
use crate::store::journal::index::Index;
use crate::store::journal::reader::Reader;
use crate::store::journal::record;
use crate::store::journal::scan::{Item, Scan};
use crate::store::layout::{self, Seq};
use crate::store::mutex::locked;
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes that one step copies, plus at most one message.
const STEP_BYTES: u64 = 256 << 10;
/// Frames that one step looks at.
const STEP_FRAMES: usize = 2048;
/// How long a step looks for something to copy: adds wait for it meanwhile.
const STEP_TIME: Duration = Duration::from_millis(5);

/// The progress of compaction.
#[derive(Debug, Default)]
pub(in crate::store) struct Compaction {
    scan: Option<(Seq, Scan)>,
    /// Segments with a message that cannot be read. They are tried again after the next start.
    unmovable: BTreeSet<Seq>,
}

/// What compaction reads.
pub(in crate::store) struct Source<'a> {
    pub(in crate::store) index: &'a Mutex<Index>,
    pub(in crate::store) reader: &'a Reader,
}

impl Compaction {
    /// Makes one step: gathers its changes, and passes them to `commit`, which returns whether they were written. Returns the
    /// number of messages that were moved; `None`: nothing is to be done, or nothing now. `head` is the segment being written,
    /// and `slack` the bytes of garbage that may stay. A step that was not written is repeated from the start of its segment.
    pub(in crate::store) fn step(
        &mut self,
        source: &Source<'_>,
        head: Option<Seq>,
        slack: u64,
        commit: impl FnOnce(&mut [Change]) -> bool,
    ) -> Option<usize> {
        while self.scan.is_none() {
            let seq = locked(source.index).victim(head, slack, &self.unmovable)?;
            match Scan::open(&*source.reader.fs, &source.reader.journal, seq, false) {
                Ok(scan) => self.scan = Some((seq, scan)),
                // A shortage is temporary.
                Err(error) if is_shortage(&error) => return None,
                Err(_) => drop(self.unmovable.insert(seq)),
            }
        }
        let (seq, mut scan) = self.scan.take()?;
        let (mut changes, ended) = source.gather(&mut scan);
        if !commit(&mut changes) {
            return None;
        }
        if !ended {
            self.scan = Some((seq, scan));
        } else if locked(source.index).is_pinned(seq) {
            self.unmovable.insert(seq);
            tracing::warn!(segment = %layout::segment_name(seq), "holds a message that cannot be read, and stays");
        }
        Some(changes.iter().map(|change| change.messages().len()).sum())
    }
}

impl Source<'_> {
    /// The next changes, and whether the segment has ended.
    fn gather(&self, scan: &mut Scan) -> (Vec<Change>, bool) {
        let (mut changes, mut bytes, mut moved) = (Vec::new(), 0, HashSet::new());
        let begun = Instant::now();
        for _ in 0..STEP_FRAMES {
            match scan.next() {
                Ok(Some(Item::Frame { place, header })) => {
                    // What cannot be read stays where it is.
                    let change = record::decode(header, &scan.payload).ok();
                    let needed = change.map(|change| self.needed(place, change, &moved));
                    for change in needed.unwrap_or_default() {
                        bytes += header.frame_len();
                        moved.extend(change.messages().iter().map(|message| message.id));
                        let routes = self.routes_after(&change);
                        changes.push(change);
                        changes.extend(routes);
                    }
                }
                Ok(Some(Item::Damage(_))) => {}
                Ok(Some(Item::Tail(_)) | None) | Err(_) => return (changes, true),
            }
            if bytes >= STEP_BYTES || begun.elapsed() >= STEP_TIME {
                break;
            }
        }
        (changes, false)
    }

    /// The changes that replace the frame at `place` with this change; empty when it is not needed or cannot be read. Messages
    /// in `moved` were moved by this step, with their state and route.
    fn needed(&self, place: Place, mut change: Change, moved: &HashSet<MessageId>) -> Vec<Change> {
        change.events_mut().clear();
        let entry = |id| locked(self.index).get(id).filter(|_| !moved.contains(&id));
        match change {
            Change::Add(mut add) | Change::Move(mut add) => {
                let concluded = add.conclusion.take();
                let concluded = concluded.filter(|concluded| !moved.contains(&concluded.id));
                let state = concluded.and_then(|concluded| self.state_at(concluded.id, place));
                self.moved(place, add).into_iter().chain(state).collect()
            }
            Change::State { id, .. } if entry(id).is_some() => self.state_at(id, place).into_iter().collect(),
            Change::Mark { id, .. } if entry(id).is_some_and(|entry| entry.kept.mark == Some(place)) => {
                vec![change]
            }
            Change::Route { id, .. } if entry(id).is_some_and(|entry| entry.route == Some(place)) => {
                vec![change]
            }
            Change::State { .. }
            | Change::Mark { .. }
            | Change::Route { .. }
            | Change::Finish { .. }
            | Change::Note { .. } => Vec::new(),
        }
    }

    /// The routes of messages with an attempt in flight, to be written after the copy of its start. They may be newer
    /// than the attempt, and a replay must not take them for the attempt's.
    fn routes_after(&self, change: &Change) -> Vec<Change> {
        let in_flight = match change {
            Change::Add(_) | Change::Move(_) => {
                let messages = change.messages().iter();
                let in_flight = messages.filter(|message| message.in_flight.is_some());
                in_flight.map(|message| message.id).collect()
            }
            Change::Mark { id, in_flight, .. } => in_flight.map(|_| *id).into_iter().collect(),
            Change::State { id, state, .. } => state.in_flight.map(|_| *id).into_iter().collect(),
            Change::Route { .. } | Change::Finish { .. } | Change::Note { .. } => Vec::new(),
        };
        let route = |id: MessageId| {
            let entry = locked(self.index).get(id).filter(|entry| entry.route.is_some())?;
            let message = self.reader.message(id, entry).ok()?;
            Some(Change::Route {
                id,
                next_hops: message.next_hops,
                origin: message.origin,
                events: Vec::new(),
            })
        };
        in_flight.into_iter().filter_map(route).collect()
    }

    /// The state of a message, later marks included, if it is at `place`.
    fn state_at(&self, id: MessageId, place: Place) -> Option<Change> {
        let entry = locked(self.index).get(id);
        let entry = entry.filter(|entry| entry.kept.state == Some(place))?;
        let state = Box::new(self.reader.message(id, entry).ok()?.state);
        let events = Vec::new();
        Some(Change::State { id, state, events })
    }

    /// The live messages of an add, with their current state. Messages of the add that have ended stay related to them.
    fn moved(&self, place: Place, add: Addition) -> Option<Change> {
        let (mut messages, mut related) = (Vec::new(), add.related);
        let mut message = self.reader.sequential();
        for record in add.messages {
            let id = record.id;
            let entry = locked(self.index).get(id);
            let Some(entry) = entry.filter(|entry| entry.kept.add == place) else {
                related.push(id);
                continue;
            };
            let Message {
                state,
                next_hops,
                origin,
                ..
            } = message(id, entry).ok()?;
            messages.push(NewMessage {
                id,
                section: Section {
                    next_hops,
                    origin,
                    ..record.section
                },
                status: state.status,
                frozen: None,
                in_flight: state.in_flight,
                state: Some(Box::new(state)),
            });
        }
        if messages.is_empty() {
            return None;
        }
        Some(Change::Move(Addition {
            messages,
            body: self.reader.body(place).ok()?,
            flows: add.flows,
            parent: add.parent,
            related,
            spooled_at: add.spooled_at,
            // The key is in the key log, which was synced before the segment may be deleted.
            key: None,
            conclusion: None,
            events: Vec::new(),
        }))
    }
}
