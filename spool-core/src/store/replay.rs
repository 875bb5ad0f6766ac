//! Replays the journal: what its frames, in order, leave alive. The same for a start and for a look from outside.
//!
//! It reads only. What is damaged or torn is noted, for recovery to repair.

use super::frame::{Header, Kind};
use super::fs::{Fs, Mode};
use super::index::{Entry, IdHasher, Index, weight};
use super::record::{
    self, AddRecord, FinishRecord, MarkRecord, MessageRecord, NoteRecord, NotedEvent, StateRecord, Telling,
};
use super::scan::{Bad, Item, Scan, ScanError};
use super::segment::{self, Place, Seq};
use super::{OpenError, Recovered, RememberedKey};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::id::MessageId;
use crate::message::Status;
use crate::next_hop::NextHop;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes to set aside.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) reason: String,
    /// The segment's salt, if a whole header or frame told it.
    pub(super) salt: Option<u64>,
    /// The disk does not give all of the segment back: it is left as it is.
    pub(super) lost: bool,
}

/// A segment that is longer than what it holds.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) seq: Seq,
    pub(super) end: u64,
    /// Bytes behind the end that are no zeros.
    pub(super) torn: u64,
}

/// An event to be told again.
#[derive(Debug)]
pub(super) enum Untold {
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

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) index: Index,
    pub(super) messages: HashMap<MessageId, Recovered, BuildHasherDefault<IdHasher>>,
    pub(super) last_id: Option<MessageId>,
    pub(super) broken: Vec<Broken>,
    pub(super) rests: Vec<Rest>,
    /// Segments that may not have been synced, and where what is whole in them ends.
    pub(super) unsynced: Vec<(Seq, u64)>,
    /// The number of the last event in the journal.
    pub(super) last_event: u64,
    /// Events that the event log does not hold, oldest first.
    pub(super) untold: VecDeque<Untold>,
    /// Names of adds.
    pub(super) keys: Vec<RememberedKey>,
    /// Events up to this number need not be told again.
    told: u64,
    hops: HashSet<Arc<[NextHop]>>,
}

/// The segments in the directory `journal`, in order.
pub(super) fn segments(fs: &dyn Fs, journal: &Path) -> Result<Vec<Seq>, OpenError> {
    let names = fs.list(journal).map_err(io_error("list", journal))?;
    let mut all: Vec<Seq> = names
        .iter()
        .filter_map(|name| segment::parse_name(name))
        .collect();
    all.sort_unstable();
    Ok(all)
}

/// Makes an [`OpenError::Io`].
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}

fn scan_error(journal: &Path, seq: Seq) -> impl FnOnce(ScanError) -> OpenError {
    let path = segment::path(journal, seq);
    move |error| match error {
        ScanError::Io(source) => OpenError::Io {
            action: "read",
            path,
            source,
        },
        ScanError::Newer(found) => OpenError::NewerFormat {
            dir: path,
            found,
            known: segment::VERSION,
        },
    }
}

fn open(fs: &dyn Fs, journal: &Path, seq: Seq, bodies: bool) -> Result<Scan, OpenError> {
    let path = segment::path(journal, seq);
    let file = fs.open(&path, Mode::Read).map_err(io_error("open", &path))?;
    Scan::new(file, seq, bodies).map_err(io_error("read", &path))
}

/// Where a write may have been cut off.
struct Front {
    /// From here on nothing is known to have been synced: bodies are to be checked.
    unsynced: Option<Seq>,
    /// The last segment with anything in it: the only one whose end may be torn, since a segment is synced before
    /// the next one is begun.
    last: Option<Seq>,
}

fn front(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Front, OpenError> {
    let mut front = Front {
        unsynced: None,
        last: None,
    };
    for seq in seqs.iter().rev() {
        front.unsynced = Some(*seq);
        let mut scan = open(fs, journal, *seq, true)?;
        match scan.next().map_err(scan_error(journal, *seq))? {
            // Holes alone: it was written, and mended since.
            None if scan.end() > segment::HEADER as u64 => {
                front.last = front.last.or(Some(*seq));
                break;
            }
            None => {}
            Some(Item::Tail(_)) => front.last = front.last.or(Some(*seq)),
            Some(Item::Frame { .. } | Item::Damage(_)) => {
                front.last = front.last.or(Some(*seq));
                break;
            }
        }
    }
    Ok(front)
}

/// Reads `seqs`, all of the journal. Events up to the number `told` need not be told again.
pub(super) fn replay(fs: &dyn Fs, journal: &Path, seqs: &[Seq], told: u64) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let mut replay = Replay {
        told,
        ..Replay::default()
    };
    for seq in seqs {
        let bodies = front.unsynced.is_some_and(|from| *seq >= from);
        let mut scan = open(fs, journal, *seq, bodies)?;
        let may_be_torn = front.last.is_none_or(|last| *seq >= last);
        replay
            .segment(*seq, &mut scan, may_be_torn)
            .map_err(scan_error(journal, *seq))?;
        if bodies {
            replay.unsynced.push((*seq, scan.end()));
        }
    }
    Ok(replay)
}

impl Replay {
    fn segment(&mut self, seq: Seq, scan: &mut Scan, may_be_torn: bool) -> Result<(), ScanError> {
        self.index.open_segment(seq);
        let first = self.broken.len();
        let mut torn = 0;
        while let Some(item) = scan.next()? {
            let bad = match item {
                Item::Frame { place, header } => match self.frame(place, header, scan.payload()) {
                    Ok(()) => continue,
                    Err(reason) => {
                        let (offset, length) = (u64::from(place.offset), header.frame_len());
                        self.broken.push(broken(seq, offset, length, reason));
                        continue;
                    }
                },
                Item::Tail(bad) if may_be_torn && !scan.has_lost() => {
                    torn = bad.length;
                    continue;
                }
                Item::Damage(bad) | Item::Tail(bad) => bad,
            };
            let Bad {
                offset,
                length,
                reason,
            } = bad;
            self.broken.push(broken(seq, offset, length, reason.to_owned()));
        }
        for broken in self.broken.iter_mut().skip(first) {
            broken.salt = scan.salt();
            broken.lost = scan.has_lost();
        }
        if scan.has_lost() {
            self.index.keep(seq);
        } else if scan.size() > scan.end() {
            let end = scan.end();
            self.rests.push(Rest { seq, end, torn });
        }
        Ok(())
    }

    /// Applies one frame. An error says what is wrong with its payload; nothing is changed then.
    fn frame(&mut self, place: Place, header: Header, payload: &[u8]) -> Result<(), String> {
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
        let state = message
            .state
            .map(|state| (state.status, state.in_flight, state.retry_wait()));
        let (status, in_flight, wait) = state.unwrap_or((message.status, message.in_flight, None));
        let recovered = Recovered {
            id: message.id,
            status,
            in_flight,
            spooled_at,
            next_hops: self.intern(message.next_hops),
            wait,
            body_size: u64::from(header.body_len),
        };
        self.messages.insert(message.id, recovered);
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
        if seq > self.told {
            self.untold.push_back(untold);
        }
        if self.untold.len() > MAX_UNTOLD {
            self.untold.pop_front();
        }
    }

    fn finish(&mut self, id: MessageId, seq: Seq) {
        if self.index.finish(id, seq).is_some() {
            self.messages.remove(&id);
        }
    }

    fn set(&mut self, id: MessageId, status: Status, in_flight: Option<Timestamp>, wait: Option<Duration>) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.status = status;
            message.in_flight = in_flight;
            message.wait = wait;
        }
    }

    fn saw(&mut self, id: MessageId) {
        self.last_id = self.last_id.max(Some(id));
    }

    fn intern(&mut self, hops: Arc<[NextHop]>) -> Arc<[NextHop]> {
        if let Some(known) = self.hops.get(&hops) {
            return Arc::clone(known);
        }
        self.hops.insert(Arc::clone(&hops));
        hops
    }
}

fn broken(seq: Seq, offset: u64, length: u64, reason: String) -> Broken {
    Broken {
        seq,
        offset,
        length,
        reason,
        salt: None,
        lost: false,
    }
}
