//! The writer: encodes changes as frames at the end of the head segment, and makes them durable with one sync.
//!
//! The next segment is ready before an add is accepted: preallocated, synced, named `spare`. So on a full disk, the
//! rest of the head and all of the spare are left for changes of state. A segment is synced and then sealed before the
//! next one gets its first byte, so only the last segment can have a torn end. After an error that leaves the content
//! of the disk unknown, the writer must not be used again; its owner ensures that.

use super::batch::{Batch, Placed, Tally};
use super::frame::{self, Header, Place};
use super::index::Index;
use super::new_segments::NewSegments;
use super::record;
use super::segment::{self, End};
use super::validate::Staged;
use super::write_error::WriteError;
use crate::id::FlowId;
use crate::store::change::Change;
use crate::store::error::{Failure, StoreError};
use crate::store::fs::{Fs, FsFile};
use crate::store::layout::{self, Seq};
use crate::store::types::StoreOptions;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Bodies of this size are written directly, not copied to the buffer.
const DIRECT: usize = 256 << 10;
/// Bytes that are buffered before a write.
const FLUSH: usize = 1 << 20;

#[derive(Debug)]
struct Head {
    file: Arc<dyn FsFile>,
    seq: Seq,
    salt: u64,
    size: u64,
    /// Offset of the next write.
    end: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
}

/// The writer of a journal.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    pub(in crate::store) fs: Arc<dyn Fs>,
    pub(in crate::store) journal: PathBuf,
    pub(in crate::store) options: StoreOptions,
    head: Option<Head>,
    new_segments: NewSegments,
    next_seq: Option<Seq>,
    buffer: Vec<u8>,
    pub(in crate::store) staged: Staged,
    /// The number of the last event written.
    last_event: u64,
    tally: Tally,
}

impl Writer {
    /// A writer that continues after the segments up to `last`. The first segment is created when needed.
    pub(in crate::store) fn new(
        fs: Arc<dyn Fs>,
        journal: PathBuf,
        options: StoreOptions,
        last: Option<Seq>,
        last_event: u64,
    ) -> Self {
        Self {
            new_segments: NewSegments::new(Arc::clone(&fs), journal.clone(), options.segment_size),
            fs,
            journal,
            options,
            head: None,
            next_seq: last.map_or(Some(Seq::MIN), |last| last.checked_add(1)),
            buffer: Vec::new(),
            staged: Staged::default(),
            last_event,
            tally: Tally::default(),
        }
    }

    /// What was written since the last call.
    pub(in crate::store) fn take_tally(&mut self) -> Tally {
        self.tally.syncs += self.new_segments.take_syncs();
        std::mem::take(&mut self.tally)
    }

    /// The segment that is being written.
    pub(in crate::store) fn head(&self) -> Option<Seq> {
        self.head.as_ref().map(|head| head.seq)
    }

    /// Why the next segment could not be prepared when it was last tried; `None`: it is ready, or was not needed yet.
    pub(in crate::store) fn segment_refusal(&self) -> Option<&StoreError> {
        self.new_segments.refusal()
    }

    /// Writes and syncs the changes that can be written. After an error the content of the disk is unknown.
    pub(in crate::store) fn write(
        &mut self,
        changes: &mut [Change],
        index: &Mutex<Index>,
    ) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        batch.results.reserve_exact(changes.len());
        self.buffer.clear();
        self.staged.clear();
        for (number, change) in changes.iter_mut().enumerate() {
            let written = self
                .check(change, index, &mut batch)
                .and_then(|()| self.numbered(change));
            match written {
                Ok((place, length)) => {
                    self.staged.stage(change);
                    batch.placed.push(Placed {
                        number,
                        place,
                        length,
                    });
                    batch.results.push(Ok(()));
                }
                Err(WriteError::Refused(error)) => batch.results.push(Err(error)),
                Err(WriteError::Failed(failure)) => return Err(failure),
            }
        }
        match self
            .flush()
            .and_then(|()| self.sync())
            .and_then(|()| self.check_head())
        {
            Ok(()) => Ok(batch),
            Err(WriteError::Failed(failure)) => Err(failure),
            Err(WriteError::Refused(error)) => Err(Failure::Disk(error.to_string())),
        }
    }

    /// Whether `change` can be written; for an add, the next segment must be ready too.
    fn check(&mut self, change: &Change, index: &Mutex<Index>, batch: &mut Batch) -> Result<(), WriteError> {
        let read = || self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
        let mut free_space = || *batch.available.get_or_insert_with(read);
        self.staged
            .check(change, index, &self.options, &mut free_space)
            .map_err(WriteError::Refused)?;
        if matches!(change, Change::Add(_)) {
            self.make_spare()?;
        }
        Ok(())
    }

    /// Numbers the events of `change`, and appends it. A refused change uses no numbers.
    fn numbered(&mut self, change: &mut Change) -> Result<(Place, u64), WriteError> {
        let before = self.last_event;
        for event in change.events_mut() {
            self.last_event += 1;
            event.seq = self.last_event;
        }
        let appended = self.append(change);
        if appended.is_err() {
            self.last_event = before;
        }
        appended
    }

    /// Encodes `change` at the end of the head, or in a new head if it does not fit; returns its place and length.
    fn append(&mut self, change: &Change) -> Result<(Place, u64), WriteError> {
        let body = change.body();
        let mut start = self.buffer.len();
        self.buffer.resize(start + frame::HEADER, 0);
        let mut encoded = record::encode(change, &mut self.buffer)
            .ok()
            .and_then(|kind| Header::of(kind, self.buffer.get(start + frame::HEADER..)?, body, 0))
            .ok_or_else(|| {
                WriteError::Refused(StoreError::Invalid("the change cannot be encoded".to_owned()))
            });
        if let Ok(header) = &encoded
            && !self.fits(body.len())
            && let Err(error) = self.take_segment(&mut start, header.frame_len())
        {
            encoded = Err(error);
        }
        let header = match encoded {
            Ok(header) => header,
            Err(error) => {
                self.buffer.truncate(start);
                return Err(error);
            }
        };
        let Some(head) = &mut self.head else {
            return Err(WriteError::doubt("the journal has no head"));
        };
        let offset = u32::try_from(head.end + start as u64);
        let place = Place {
            seq: head.seq,
            offset: offset.map_err(|_| WriteError::doubt("a segment grew beyond 4 GiB"))?,
        };
        let header = Header {
            salt: head.salt,
            ..header
        };
        if let Some(reserved) = self.buffer.get_mut(start..start + frame::HEADER) {
            reserved.copy_from_slice(&header.encode(place));
        }
        if body.len() < DIRECT {
            self.buffer.extend_from_slice(body);
        } else {
            self.flush()?;
            self.write_out(body)?;
        }
        if self.buffer.len() >= FLUSH {
            self.flush()?;
        }
        Ok((place, header.frame_len()))
    }

    /// Whether the buffer and a body fit into the head.
    fn fits(&self, body: usize) -> bool {
        let more = (self.buffer.len() + body) as u64;
        self.head
            .as_ref()
            .is_some_and(|head| head.end + more <= head.size)
    }

    /// Moves the frame that starts at `start` in the buffer to a new segment. If there is none, the buffer holds what
    /// it held before the frame, and nothing has changed.
    fn take_segment(&mut self, start: &mut usize, frame_len: u64) -> Result<(), WriteError> {
        let frame = self.buffer.split_off(*start);
        self.flush()?;
        self.sync()?;
        *start = 0;
        let seq = self
            .next_seq
            .ok_or_else(|| WriteError::full("segment numbers have run out"))?;
        let needed = segment::HEADER as u64 + frame_len;
        let (file, size) = self.new_segments.create(seq, needed)?;
        self.seal()?;
        if let Some(old) = &self.head {
            // Frees space that was reserved and not used. Optional.
            let _ = old.file.set_len(old.end);
        }
        let salt = salt();
        self.next_seq = seq.checked_add(1);
        self.head = Some(Head {
            file,
            seq,
            salt,
            size,
            end: 0,
            dirty: false,
        });
        self.buffer
            .extend_from_slice(&segment::encode_header(seq, salt, End::Open));
        *start = self.buffer.len();
        self.buffer.extend_from_slice(&frame);
        Ok(())
    }

    /// Ends the pause after a failure to prepare the next segment.
    #[cfg(test)]
    pub(in crate::store) fn end_pause(&mut self) {
        self.new_segments.end_pause();
    }

    /// Prepares the next segment.
    pub(in crate::store) fn make_spare(&mut self) -> Result<(), WriteError> {
        self.new_segments.spare().map(drop)
    }

    /// Uses the spare of an earlier run.
    pub(in crate::store) fn adopt_spare(&mut self) {
        self.new_segments.adopt_spare();
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        buffer.shrink_to(2 * FLUSH);
        self.buffer = buffer;
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        head.dirty = true;
        head.file
            .write_at(head.end, bytes)
            .map_err(WriteError::disk("write to the journal"))?;
        head.end += bytes.len() as u64;
        self.tally.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        match &mut self.head {
            Some(head) if head.dirty => {
                self.tally.syncs += 1;
                head.file
                    .sync_data()
                    .map_err(WriteError::disk("sync the journal"))?;
                head.dirty = false;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the head still has a name and its size. Data written to an unlinked file is lost, and a truncated
    /// file has lost data that was answered for.
    pub(in crate::store) fn check_head(&self) -> Result<(), WriteError> {
        let Some(head) = &self.head else { return Ok(()) };
        let identity = head.file.identity();
        let identity = identity.map_err(WriteError::disk("look at the journal"))?;
        let how = match (identity.links, identity.size) {
            (0, _) => "was deleted or replaced",
            (_, size) if size < head.size => "was cut short",
            _ => return Ok(()),
        };
        let text = format!("{} {how}", layout::segment_file(head.seq));
        Err(WriteError::Failed(Failure::FilesTaken(text)))
    }

    /// The files that are open for writing, with their paths.
    pub(in crate::store) fn open_files(&self) -> Vec<(Arc<dyn FsFile>, PathBuf)> {
        let head = self.head.as_ref();
        let head = head.map(|head| {
            (
                Arc::clone(&head.file),
                layout::segment_path(&self.journal, head.seq),
            )
        });
        let spare = self.new_segments.open_spare();
        head.into_iter().chain(spare).collect()
    }

    /// Closes every file. Nothing can be written afterwards.
    pub(in crate::store) fn close(&mut self) {
        self.new_segments.close();
        (self.head, self.next_seq) = (None, None);
    }

    /// Writes the end of the head to its header, after all of it was synced. Nothing may be appended to it afterwards.
    fn seal(&mut self) -> Result<(), WriteError> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let end = u32::try_from(head.end).map_err(|_| WriteError::doubt("a segment grew beyond 4 GiB"))?;
        let header = segment::encode_header(head.seq, head.salt, End::At(end));
        // Only the changed part is written: another process may read the header at this moment.
        let changed = header.get(segment::END..).unwrap_or_default();
        head.file
            .write_at(segment::END as u64, changed)
            .map_err(WriteError::disk("write to the journal"))?;
        head.dirty = true;
        self.tally.bytes += changed.len() as u64;
        self.sync()
    }

    /// Syncs the names in the journal's directory.
    pub(in crate::store) fn sync_dir(&mut self) -> Result<(), WriteError> {
        self.new_segments.sync_dir()
    }
}

/// Random, but not secret from readers of the disk: the sender of a message must not be able to guess it.
#[allow(clippy::cast_possible_truncation, reason = "the low 64 of 80 random bits")]
fn salt() -> u64 {
    FlowId::random().as_u128() as u64
}
