//! Reads single messages by their place, beside whatever is being written.
//!
//! It keeps a few segments open. It trusts nothing it reads: header, record and body are checked each time.

use super::frame::{self, Header, Kind};
use super::fs::{Fs, FsFile, Mode, is_shortage};
use super::index::Entry;
use super::record::{self, AddRecord, MarkRecord, StateRecord};
use super::segment::{self, Place, Seq};
use crate::id::MessageId;
use crate::message::Message;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Files kept open: a large backlog must not use up the descriptors.
const MAX_OPEN: usize = 64;
/// What holds messages.
const ADDS: [Kind; 2] = [Kind::Add, Kind::Move];
/// The first read: most frames come whole with it.
const GUESS: usize = 4096;

/// Why a frame was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Its segment is gone: the message has ended, or moved.
    Gone,
    /// It is not what was written, or the disk does not give it back.
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

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    fs: Arc<dyn Fs>,
    journal: PathBuf,
    open: Mutex<VecDeque<(Seq, Arc<dyn FsFile>)>>,
}

struct Frame {
    file: Arc<dyn FsFile>,
    offset: u64,
    header: Header,
    /// The bytes of the first read.
    start: Vec<u8>,
}

impl Reader {
    pub(super) fn new(fs: Arc<dyn Fs>, journal: PathBuf) -> Self {
        let open = Mutex::default();
        Self { fs, journal, open }
    }

    /// Closes a segment that was taken off the disk: its space comes back with the last handle.
    pub(super) fn forget(&self, seq: Seq) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(other, _)| *other != seq);
    }

    /// Closes all of them.
    pub(super) fn close(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        drop(open);
    }

    /// The message that `entry` points to.
    pub(super) fn message(&self, id: MessageId, entry: Entry) -> Result<Message, Unread> {
        let frame = self.frame(entry.add, &ADDS)?;
        let add: AddRecord = frame.record()?;
        let message = add.message(entry.section, u64::from(frame.header.body_len));
        let Some(mut message) = message.filter(|message| message.id == id) else {
            return Err(Unread::Damaged("another message stands in its place".to_owned()));
        };
        if let Some(place) = entry.state {
            let record: StateRecord = self.frame(place, &[Kind::State])?.record()?;
            message.state = record.state;
        }
        if let Some(place) = entry.mark {
            let record: MarkRecord = self.frame(place, &[Kind::Mark])?.record()?;
            message.state.status = record.status;
            message.state.in_flight = record.in_flight;
        }
        Ok(message)
    }

    /// The body of the add at `place`, checked.
    pub(super) fn body(&self, place: Place) -> Result<Bytes, Unread> {
        let frame = self.frame(place, &ADDS)?;
        let body = frame.part(frame.header.body_at(), frame.header.body_len)?;
        if crc32c::crc32c(&body) != frame.header.body_crc {
            return Err(Unread::Damaged("the body fails its checksum".to_owned()));
        }
        Ok(body)
    }

    /// The header of the frame at `place`.
    pub(super) fn header(&self, place: Place) -> Result<Header, Unread> {
        Ok(self.frame(place, &ADDS)?.header)
    }

    fn frame(&self, place: Place, kinds: &[Kind]) -> Result<Frame, Unread> {
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
        if let Some(file) = held(&self.open.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(file);
        }
        let file = self.fs.open(&segment::path(&self.journal, seq), Mode::Read)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if held(&open).is_none() {
            open.truncate(MAX_OPEN - 1);
            open.push_front((seq, Arc::clone(&file)));
        }
        Ok(file)
    }
}

impl Frame {
    fn record<T: serde::de::DeserializeOwned>(&self) -> Result<T, Unread> {
        let payload = self.part(frame::HEADER as u64, self.header.payload_len)?;
        if crc32c::crc32c(&payload) != self.header.payload_crc {
            return Err(Unread::Damaged("its record fails its checksum".to_owned()));
        }
        record::decode(&payload).map_err(Unread::Damaged)
    }

    /// `length` bytes, `at` bytes behind the start of the frame.
    fn part(&self, at: u64, length: u32) -> Result<Bytes, Unread> {
        let wrong = |_| Unread::Damaged("longer than memory".to_owned());
        let length = usize::try_from(length).map_err(wrong)?;
        let from = usize::try_from(at).map_err(wrong)?;
        if let Some(bytes) = self.start.get(from..from.saturating_add(length)) {
            return Ok(Bytes::copy_from_slice(bytes));
        }
        // The header is checked, but the file may have been cut since: no memory for what is not there.
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
