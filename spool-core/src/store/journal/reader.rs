//! Reads single messages by their place, while others are written. It keeps a few segments open and one large add
//! decoded. Header, record and body are checked on each read.

use crate::frozen::Frozen;
use crate::id::MessageId;
use crate::message::{Message, Status};
use crate::store::change::{Addition, Change, Outcome};
use crate::store::fs::{Fs, FsFile, Mode, is_shortage};
use crate::store::journal::decoded::Decoded;
use crate::store::journal::frame::Place;
use crate::store::journal::frame::{self, Header, Kind};
use crate::store::journal::index::Entry;
use crate::store::journal::record;
use crate::store::layout::{self, Seq};
use crate::store::mutex::locked;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Segments kept open; a large backlog must not exhaust the descriptors.
const MAX_OPEN: usize = 64;
/// The kinds that hold messages.
const ADDS: [Kind; 2] = [Kind::Add, Kind::Move];
/// Adds kept decoded: those with at least this many messages and at most this many bytes of payload. Otherwise the
/// retries of a large add would decode all of it for each of its messages.
const LEAST_KEPT: usize = 16;
const MOST_KEPT: u32 = 4 << 20;
/// Bytes of the first read: most frames are complete with it.
const GUESS: usize = 4096;

/// Why a frame was not read.
#[derive(Debug)]
pub(in crate::store) enum Unread {
    /// Its segment was deleted: the message has ended or was moved.
    Gone,
    /// It is not what was written, or the disk cannot read it.
    Damaged(String),
    /// The system is short of descriptors or memory.
    NotNow(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Gone
        } else if is_shortage(&error) {
            Self::NotNow(error.to_string())
        } else {
            Self::Damaged(format!("cannot be read: {error}"))
        }
    }
}

/// Reads frames of the journal.
#[derive(Debug)]
pub(in crate::store) struct Reader {
    pub(in crate::store) fs: Arc<dyn Fs>,
    pub(in crate::store) journal: PathBuf,
    open: Mutex<VecDeque<(Seq, Arc<dyn FsFile>)>>,
    /// The large add that was read last.
    kept: Mutex<Option<(Place, Arc<Decoded>)>>,
    /// Frames read so far.
    pub(in crate::store) frames: AtomicU64,
}

struct Frame {
    file: Arc<dyn FsFile>,
    offset: u64,
    header: Header,
    /// The bytes of the first read.
    start: Vec<u8>,
}

impl Reader {
    pub(in crate::store) fn new(fs: Arc<dyn Fs>, journal: PathBuf) -> Self {
        Self {
            fs,
            journal,
            open: Mutex::default(),
            kept: Mutex::default(),
            frames: AtomicU64::new(0),
        }
    }

    /// Closes a segment that was deleted: its space is freed with the last handle.
    pub(in crate::store) fn forget(&self, seq: Seq) {
        let mut open = locked(&self.open);
        open.retain(|(other, _)| *other != seq);
        drop(open);
        let mut kept = locked(&self.kept);
        kept.take_if(|(place, _)| place.seq == seq);
    }

    /// Closes all segments.
    pub(in crate::store) fn close(&self) {
        let open = std::mem::take(&mut *locked(&self.open));
        drop(open);
    }

    /// The message that `entry` points to.
    pub(in crate::store) fn message(&self, id: MessageId, entry: Entry) -> Result<Message, Unread> {
        self.sequential()(id, entry)
    }

    /// A reader for many messages, as [`Reader::message`]. Consecutive messages of one add cost one read.
    pub(in crate::store) fn sequential(&self) -> impl FnMut(MessageId, Entry) -> Result<Message, Unread> {
        let mut last: Option<(Place, Arc<Decoded>)> = None;
        move |id, entry| {
            let add = match last.take() {
                Some((place, add)) if place == entry.kept.add => add,
                _ => self.add(entry.kept.add)?,
            };
            let (_, add) = last.insert((entry.kept.add, add));
            self.of_add(add, id, entry)
        }
    }

    fn add(&self, place: Place) -> Result<Arc<Decoded>, Unread> {
        let kept = || locked(&self.kept);
        if let Some((_, add)) = kept().as_ref().filter(|(at, _)| *at == place) {
            return Ok(Arc::clone(add));
        }
        let frame = self.frame(place, &ADDS)?;
        let (Change::Add(add) | Change::Move(add)) = frame.record()? else {
            return Err(misplaced());
        };
        let keep = add.messages.len() >= LEAST_KEPT && frame.header.payload_len <= MOST_KEPT;
        let add = Arc::new(Decoded::new(add, u64::from(frame.header.body_len)));
        if keep {
            *kept() = Some((place, Arc::clone(&add)));
        }
        Ok(add)
    }

    fn of_add(&self, add: &Decoded, id: MessageId, entry: Entry) -> Result<Message, Unread> {
        let message = add.message(entry.kept.section);
        let mut message = message.filter(|message| message.id == id).ok_or_else(misplaced)?;
        let later: [(_, &[Kind]); 3] = [
            (entry.kept.state, &[Kind::State, Kind::Add]),
            (entry.kept.mark, &[Kind::Mark]),
            (entry.route, &[Kind::Route]),
        ];
        for (place, kinds) in later {
            let Some(place) = place else { continue };
            match self.frame(place, kinds)?.record()? {
                Change::State { state, .. } => message.state = *state,
                Change::Mark {
                    status,
                    frozen,
                    in_flight,
                    ..
                } => {
                    message.state.set_status(status, frozen);
                    message.state.in_flight = in_flight;
                }
                Change::Route {
                    next_hops, origin, ..
                } => (message.next_hops, message.origin) = (next_hops, origin),
                // The add that concluded it.
                Change::Add(Addition {
                    conclusion: Some(concluded),
                    ..
                }) if concluded.id == id => match concluded.outcome {
                    Outcome::State(state) => message.state = *state,
                    Outcome::Finish(_) => return Err(misplaced()),
                },
                Change::Add(_) | Change::Move(_) | Change::Finish { .. } | Change::Note { .. } => {
                    return Err(misplaced());
                }
            }
        }
        let state = &mut message.state;
        if state.status == Status::Frozen && state.frozen.is_none() {
            state.frozen = Some(Box::new(Frozen::unrecorded(state)));
        }
        Ok(message)
    }

    /// The body of the add at `place`, checked against its checksum.
    pub(in crate::store) fn body(&self, place: Place) -> Result<Bytes, Unread> {
        let frame = self.frame(place, &ADDS)?;
        let body = frame.part(frame.header.body_at(), frame.header.body_len)?;
        if crc32c::crc32c(&body) != frame.header.body_crc {
            return Err(Unread::Damaged("the body fails its checksum".to_owned()));
        }
        Ok(body)
    }

    /// The header of the frame at `place`.
    pub(in crate::store) fn header(&self, place: Place) -> Result<Header, Unread> {
        Ok(self.frame(place, &ADDS)?.header)
    }

    fn frame(&self, place: Place, kinds: &[Kind]) -> Result<Frame, Unread> {
        self.frames.fetch_add(1, Relaxed);
        let file = self.file(place.seq)?;
        let offset = u64::from(place.offset);
        let mut start = vec![0; GUESS];
        let count = file.read_at(offset, &mut start)?;
        start.truncate(count);
        let header = start
            .first_chunk::<{ frame::HEADER }>()
            .and_then(|bytes| Header::decode(bytes, place, None).ok())
            .filter(|header| kinds.contains(&header.kind))
            .ok_or_else(|| Unread::Damaged("its header fails its checksum".to_owned()))?;
        Ok(Frame {
            file,
            offset,
            header,
            start,
        })
    }

    fn file(&self, seq: Seq) -> io::Result<Arc<dyn FsFile>> {
        let held = |open: &VecDeque<(Seq, Arc<dyn FsFile>)>| {
            let found = open.iter().find(|(other, _)| *other == seq);
            found.map(|(_, file)| Arc::clone(file))
        };
        if let Some(file) = held(&locked(&self.open)) {
            return Ok(file);
        }
        let file = self
            .fs
            .open(&layout::segment_path(&self.journal, seq), Mode::Read)?;
        let mut open = locked(&self.open);
        if held(&open).is_none() {
            open.truncate(MAX_OPEN - 1);
            open.push_front((seq, Arc::clone(&file)));
        }
        Ok(file)
    }
}

fn misplaced() -> Unread {
    Unread::Damaged("another message is in its place".to_owned())
}

impl Frame {
    fn record(&self) -> Result<Change, Unread> {
        let payload = self.part(frame::HEADER as u64, self.header.payload_len)?;
        if crc32c::crc32c(&payload) != self.header.payload_crc {
            return Err(Unread::Damaged("its record fails its checksum".to_owned()));
        }
        record::decode(self.header, &payload).map_err(Unread::Damaged)
    }

    /// `length` bytes, at offset `at` of the frame.
    fn part(&self, at: u64, length: u32) -> Result<Bytes, Unread> {
        let wrong = |_| Unread::Damaged("longer than memory".to_owned());
        let length = usize::try_from(length).map_err(wrong)?;
        let from = usize::try_from(at).map_err(wrong)?;
        if let Some(bytes) = self.start.get(from..from.saturating_add(length)) {
            return Ok(Bytes::copy_from_slice(bytes));
        }
        // The header is valid, but the file may be shorter: no memory is allocated for missing bytes.
        if self.offset + at + length as u64 > self.file.size()? {
            return Err(Unread::Damaged("its end is missing".to_owned()));
        }
        let mut bytes = vec![0; length];
        let count = self.file.read_at(self.offset + at, &mut bytes)?;
        if count < length {
            return Err(Unread::Damaged("its end is missing".to_owned()));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::SimFs;
    use std::path::Path;

    #[test]
    fn no_more_files_are_kept_open_than_allowed() {
        let (fs, journal) = (SimFs::new(), Path::new("/spool/journal"));
        let reader = Reader::new(Arc::new(fs.clone()), journal.to_owned());
        for number in 1..=MAX_OPEN as u32 + 10 {
            let seq = Seq::new(number).unwrap();
            fs.plant(&layout::segment_path(journal, seq), b"");
            reader.file(seq).unwrap();
        }
        let open = reader.open.lock().unwrap();
        assert_eq!(open.len(), MAX_OPEN);
        let newest = open.front().map(|(seq, _)| seq.get());
        assert_eq!(newest, Some(MAX_OPEN as u32 + 10), "the oldest was closed");
    }
}
