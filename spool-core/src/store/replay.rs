//! Replays the journal: what its frames, in order, leave alive. The same for a start and for a look from outside.
//!
//! It reads only. What is damaged or torn is noted, for recovery to repair. A message costs it 48 bytes beside its place in
//! the index: of a long queue nothing else is ever in memory.

use super::frame::{Header, Kind};
use super::fs::{Fs, Mode, is_unreadable};
use super::index::{Entry, IdHasher, Index, weight};
use super::record::{
    self, AddRecord, FinishRecord, MarkRecord, MessageRecord, NoteRecord, NotedEvent, StateRecord, Telling,
};
use super::scan::{Bad, Item, Scan, ScanError};
use super::segment::{self, Found, Place, Seq};
use super::{OpenError, Recovered, RememberedKey};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::id::MessageId;
use crate::message::Status;
use crate::next_hop::NextHop;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes to set aside.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Of these, what there is to be copied.
    pub(super) kept: u64,
    /// Nothing whole follows: it is cut off.
    pub(super) last: bool,
    pub(super) reason: String,
    /// The segment's salt, if a whole header or frame told it.
    pub(super) salt: Option<u64>,
    /// The disk does not give all of the segment back: it is left as it is.
    pub(super) lost: bool,
}

impl Broken {
    /// `last`: nothing whole follows.
    fn of(seq: Seq, bad: Bad, last: bool) -> Self {
        Self {
            seq,
            offset: bad.offset,
            length: bad.length,
            kept: bad.kept,
            last,
            reason: bad.reason.to_owned(),
            salt: None,
            lost: false,
        }
    }

    /// A frame that can be stepped over, and not be read.
    pub(super) fn frame(place: Place, header: Header, reason: String) -> Self {
        Self {
            seq: place.seq,
            offset: u64::from(place.offset),
            length: header.frame_len(),
            kept: header.frame_len(),
            last: false,
            reason,
            salt: Some(header.salt),
            lost: false,
        }
    }
}

/// A segment that is longer than what it holds.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) seq: Seq,
    pub(super) end: u64,
    /// Bytes behind the end that are no zeros.
    pub(super) torn: u64,
}

impl Rest {
    /// Whether nothing was ever written behind the end.
    pub(super) fn is_reserve(&self, broken: &[Broken]) -> bool {
        let is_damaged = |broken: &Broken| broken.seq == self.seq && broken.last;
        self.torn == 0 && !broken.iter().any(is_damaged)
    }
}

/// A segment whose header is to say where it ends.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) seq: Seq,
    pub(super) end: u64,
    pub(super) salt: Option<u64>,
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

/// When a message that is never given up expires.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// What a queue needs to know of a live message.
#[derive(Debug, Clone, Copy)]
struct Live {
    /// Of a frozen message, without meaning.
    due: Timestamp,
    frozen: bool,
    /// Seconds of the retry interval it waits for, rounded up.
    wait: Option<NonZeroU32>,
    spooled_at: Timestamp,
    expires_at: Timestamp,
    /// Which of the lists of next hops.
    hops: u32,
    body_size: u32,
}

/// Something about messages.
type Ids<T> = HashMap<MessageId, T, BuildHasherDefault<IdHasher>>;

impl Live {
    fn status(&self) -> Status {
        match self.frozen {
            true => Status::Frozen,
            false => Status::SendAt(self.due),
        }
    }

    fn set(&mut self, status: Status, wait: Option<Duration>) {
        let seconds = |wait: Duration| NonZeroU32::new(u32::try_from(wait.as_millis().div_ceil(1000)).ok()?);
        self.wait = wait.and_then(seconds);
        self.frozen = status == Status::Frozen;
        if let Status::SendAt(due) = status {
            self.due = due;
        }
    }
}

/// The live messages of a replay, in the order of their ids.
#[derive(Debug)]
pub(super) struct Messages {
    all: std::vec::IntoIter<(MessageId, Live)>,
    in_flight: Ids<Timestamp>,
    hops: Vec<Arc<[NextHop]>>,
}

impl Iterator for Messages {
    type Item = Recovered;

    fn next(&mut self) -> Option<Recovered> {
        let (id, live) = self.all.next()?;
        let hops = usize::try_from(live.hops)
            .ok()
            .and_then(|hops| self.hops.get(hops));
        Some(Recovered {
            id,
            status: live.status(),
            in_flight: self.in_flight.get(&id).copied(),
            spooled_at: live.spooled_at,
            expires_at: Some(live.expires_at).filter(|at| *at != NEVER),
            next_hops: hops.map_or_else(|| [].into(), Arc::clone),
            wait: live
                .wait
                .map(|seconds| Duration::from_secs(u64::from(seconds.get()))),
            body_size: u64::from(live.body_size),
        })
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) index: Index,
    live: Ids<Live>,
    /// Those of them whose attempt has begun and not ended: never many.
    in_flight: Ids<Timestamp>,
    pub(super) last_id: Option<MessageId>,
    pub(super) broken: Vec<Broken>,
    pub(super) rests: Vec<Rest>,
    /// Segments that may not have been synced, and where what is whole in them ends.
    pub(super) unsynced: Vec<(Seq, u64)>,
    /// Segments that nothing is written to any more, and that do not say rightly where they end: those that may not have been
    /// synced, and those in which a repair changes something.
    pub(super) unsealed: Vec<Unsealed>,
    /// Segments with nothing in them since the last one with a header, as damage.
    unwritten: Vec<(Seq, Bad)>,
    /// The number of the last event in the journal that is told of.
    pub(super) last_event: u64,
    /// The highest number that was given to an event, even to one of a message that is not known: at the end of a journal
    /// most are not, and in a batch that was torn before anybody was answered some are not.
    pub(super) last_number: u64,
    /// Events that the event log does not hold, oldest first.
    pub(super) untold: VecDeque<Untold>,
    /// Names of adds.
    pub(super) keys: Vec<RememberedKey>,
    /// Events up to this number need not be told again.
    told: u64,
    hops: HashMap<Arc<[NextHop]>, u32>,
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
            // A file from elsewhere hides nothing of what was written last, nor does one that was given up empty.
            Some(Item::Tail(_)) if scan.is_foreign() || scan.sealed_end() == Some(segment::HEADER as u64) => {
            }
            None => {}
            // All of it was on disk once.
            Some(Item::Tail(_)) if scan.sealed_end().is_some() => {
                front.last = front.last.or(Some(*seq));
                break;
            }
            Some(Item::Tail(_)) => front.last = front.last.or(Some(*seq)),
            Some(Item::Frame { .. } | Item::Damage(_)) => {
                front.last = front.last.or(Some(*seq));
                break;
            }
        }
    }
    Ok(front)
}

/// Reads `seqs`, all of the journal. Events up to the number `told` need not be told again. `progress` hears of the bytes
/// that were read, and says whether to go on.
pub(super) fn replay(
    fs: &dyn Fs,
    journal: &Path,
    seqs: &[Seq],
    told: u64,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let mut replay = Replay {
        told,
        ..Replay::default()
    };
    let mut ahead = seqs.iter().skip(1);
    for seq in seqs {
        // The disk works on the next one while this one is taken apart.
        if let Some(next) = ahead.next()
            && let Ok(file) = fs.open(&segment::path(journal, *next), Mode::Read)
        {
            file.read_ahead();
        }
        let read = replay.read(fs, journal, *seq, &front)?;
        if !progress(read) {
            return Err(io_error("read all of", journal)(
                io::ErrorKind::Interrupted.into(),
            ));
        }
    }
    Ok(replay)
}

/// Reads the end of the journal: every segment that a power cut may have touched, and as many before them as it takes to
/// learn the last number of an event. What it says of messages is not the whole truth; what it says of damage, of torn ends
/// and of the last numbers is.
pub(super) fn tail(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let (older, unsynced) = match front.unsynced {
        Some(from) => seqs.split_at(seqs.partition_point(|seq| *seq < from)),
        None => (seqs, [].as_slice()),
    };
    let mut tail = Replay {
        told: u64::MAX,
        ..Replay::default()
    };
    for seq in unsynced {
        tail.read(fs, journal, *seq, &front)?;
    }
    for seq in older.iter().rev() {
        // Numbers rise along the journal.
        if tail.last_number > 0 && tail.last_id.is_some() {
            break;
        }
        let mut earlier = Replay {
            told: u64::MAX,
            ..Replay::default()
        };
        earlier.read(fs, journal, *seq, &front)?;
        tail.last_number = tail.last_number.max(earlier.last_number);
        tail.last_id = tail.last_id.max(earlier.last_id);
    }
    Ok(tail)
}

/// Bytes of `seqs`, and whether a newer program wrote one of them: that must be known before anything is changed.
pub(super) fn measure(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<u64, OpenError> {
    let mut total = 0;
    for seq in seqs {
        let path = segment::path(journal, *seq);
        let file = fs.open(&path, Mode::Read).map_err(io_error("open", &path))?;
        let mut head = [0; segment::HEADER];
        match file.read_at(0, &mut head) {
            // The replay says more about it.
            Err(error) if !is_unreadable(&error) => return Err(io_error("read", &path)(error)),
            Ok(_) | Err(_) => {}
        }
        if let Found::Newer(version) = segment::decode_header(&head, *seq) {
            let newer = ScanError::Newer(format!("segment version {version}"));
            return Err(scan_error(journal, *seq)(newer));
        }
        total += file.size().map_err(io_error("read", &path))?;
    }
    Ok(total)
}

impl Replay {
    /// Reads one segment; gives its size.
    fn read(&mut self, fs: &dyn Fs, journal: &Path, seq: Seq, front: &Front) -> Result<u64, OpenError> {
        let bodies = front.unsynced.is_some_and(|from| seq >= from);
        let mut scan = open(fs, journal, seq, bodies)?;
        let may_be_torn = front.last.is_none_or(|last| seq >= last);
        self.segment(seq, &mut scan, may_be_torn, bodies)
            .map_err(scan_error(journal, seq))?;
        if bodies {
            self.unsynced.push((seq, scan.end()));
        }
        Ok(scan.size())
    }

    /// Takes the live messages out; the index keeps their places.
    pub(super) fn take_messages(&mut self) -> Messages {
        let mut all: Vec<_> = std::mem::take(&mut self.live).into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        let mut hops: Vec<_> = std::mem::take(&mut self.hops).into_iter().collect();
        hops.sort_unstable_by_key(|(_, number)| *number);
        Messages {
            all: all.into_iter(),
            in_flight: std::mem::take(&mut self.in_flight),
            hops: hops.into_iter().map(|(hops, _)| hops).collect(),
        }
    }

    fn segment(
        &mut self,
        seq: Seq,
        scan: &mut Scan,
        may_be_torn: bool,
        is_newest: bool,
    ) -> Result<(), ScanError> {
        self.index.open_segment(seq);
        let first = self.broken.len();
        let mut torn = 0;
        while let Some(item) = scan.next()? {
            let (bad, last) = match item {
                Item::Frame { place, header } => match self.frame(place, header, scan.payload()) {
                    Ok(()) => continue,
                    Err(reason) => {
                        self.broken.push(Broken::frame(place, header, reason));
                        continue;
                    }
                },
                Item::Tail(bad) if may_be_torn && scan.may_be_torn() => {
                    torn = bad.length;
                    continue;
                }
                Item::Damage(bad) => (bad, false),
                Item::Tail(bad) => (bad, true),
            };
            self.broken.push(Broken::of(seq, bad, last));
        }
        for broken in self.broken.iter_mut().skip(first) {
            broken.salt = scan.salt();
            broken.lost = scan.has_lost();
        }
        let is_damaged = self.broken.len() > first;
        self.emptied(seq, scan);
        if scan.has_lost() {
            self.index.keep(seq);
            return Ok(());
        }
        if scan.size() > scan.end() {
            let end = scan.end();
            self.rests.push(Rest { seq, end, torn });
        }
        if is_newest || is_damaged {
            self.unseal(seq, scan);
        }
        Ok(())
    }

    /// Notes that the header of a segment is to say where it ends, if it does not. What an older program began is left as it is:
    /// it would look as if that program had told ends.
    fn unseal(&mut self, seq: Seq, scan: &Scan) {
        if scan.tells_ends() == Some(false) {
            return;
        }
        // Where there is none, a header will be all that is there.
        let end = scan.end().max(segment::HEADER as u64);
        if scan.sealed_end() != Some(end) {
            let salt = scan.salt();
            self.unsealed.push(Unsealed { seq, end, salt });
        }
    }

    /// Segments without a byte in them stand at the end of a journal, where a process ended before it wrote to them, and the
    /// next start gives them a header before it begins another. One before a segment that was begun so has lost all it had.
    fn emptied(&mut self, seq: Seq, scan: &Scan) {
        if let Some(bad) = scan.nothing_left() {
            self.unwritten.push((seq, bad));
        } else if let Some(tells) = scan.tells_ends() {
            for (seq, bad) in std::mem::take(&mut self.unwritten).into_iter().filter(|_| tells) {
                self.broken.push(Broken::of(seq, bad, true));
                if self.unsealed.iter().all(|unsealed| unsealed.seq != seq) {
                    let (end, salt) = (segment::HEADER as u64, None);
                    self.unsealed.push(Unsealed { seq, end, salt });
                }
            }
        }
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
