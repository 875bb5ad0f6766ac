//! The writer: encodes changes as frames at the end of the head segment, and makes them durable with one sync.
//!
//! The next segment is ready before an add is accepted: preallocated, synced, named `spare`. So on a full disk, the
//! rest of the head and all of the spare are left for changes of state. A segment is synced and then sealed before the
//! next one gets its first byte, so only the last segment can have a torn end. After an error that leaves the content
//! of the disk unknown, the writer must not be used again; its owner ensures that.

use super::frame::{self, Header, Place};
use super::index::Index;
use super::new_segments::NewSegments;
use super::record;
use super::segment::{self, End};
use super::validate::Staged;
use super::write_error::{WriteError, failed};
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

/// Counts of what was written.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::store) struct Tally {
    pub(in crate::store) syncs: u64,
    pub(in crate::store) bytes: u64,
}

/// The result of a batch.
#[derive(Debug, Default)]
pub(in crate::store) struct Batch {
    /// For each change, the place of its frame and the bytes of it.
    pub(in crate::store) results: Vec<Result<(Place, u64), StoreError>>,
    /// Free space, read at most once for a batch.
    pub(in crate::store) available: Option<u64>,
}

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
    pub(in crate::store) new_segments: NewSegments,
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
        self.tally.syncs += std::mem::take(&mut self.new_segments.syncs);
        std::mem::take(&mut self.tally)
    }

    /// The segment that is being written.
    pub(in crate::store) fn head(&self) -> Option<Seq> {
        self.head.as_ref().map(|head| head.seq)
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
        for change in changes {
            let written = self
                .check(change, index, &mut batch.available)
                .and_then(|()| self.numbered(change));
            match written {
                Ok(placed) => {
                    self.staged.stage(change);
                    batch.results.push(Ok(placed));
                }
                Err(WriteError::Refused(error)) => batch.results.push(Err(error)),
                Err(WriteError::Failed(failure)) => return Err(failure),
            }
        }
        self.flush()?;
        self.sync()?;
        self.check_head()?;
        Ok(batch)
    }

    /// Whether `change` can be written; for an add, the next segment must be ready too.
    fn check(
        &mut self,
        change: &Change,
        index: &Mutex<Index>,
        available: &mut Option<u64>,
    ) -> Result<(), WriteError> {
        let read = || self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
        let mut free_space = || *available.get_or_insert_with(read);
        self.staged.check(change, index, &self.options, &mut free_space)?;
        if matches!(change, Change::Add(_)) {
            self.new_segments.spare()?;
        }
        Ok(())
    }

    /// Numbers the events of `change`, and appends it. A refused change uses no numbers and leaves nothing in the buffer.
    fn numbered(&mut self, change: &mut Change) -> Result<(Place, u64), WriteError> {
        let before = (self.last_event, self.buffer.len());
        for event in change.events_mut() {
            self.last_event += 1;
            event.seq = self.last_event;
        }
        let appended = self.append(change);
        if appended.is_err() {
            self.last_event = before.0;
            // Shorter already if the frames before it were written.
            self.buffer.truncate(before.1);
        }
        appended
    }

    /// Encodes `change` at the end of the head, or in a new head if it does not fit; returns its place and length.
    fn append(&mut self, change: &Change) -> Result<(Place, u64), WriteError> {
        let body = change.body();
        let mut start = self.buffer.len();
        let header = record::encode(change, &mut self.buffer)
            .and_then(|kind| Header::of(kind, self.buffer.get(start + frame::HEADER..)?, body, 0))
            .ok_or_else(|| StoreError::Invalid("the change cannot be encoded".to_owned()))?;
        if !self.fits(body.len()) {
            start = self.take_segment(start, header.frame_len())?;
        }
        let Some(head) = &mut self.head else {
            return Err(doubt("the journal has no head").into());
        };
        let offset = u32::try_from(head.end + start as u64);
        let place = Place {
            seq: head.seq,
            offset: offset.map_err(|_| doubt("a segment grew beyond 4 GiB"))?,
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

    /// Moves the frame that starts at `start` in the buffer to a new segment, and returns where it starts then. If there is
    /// none, what was before the frame is written, and nothing else has changed.
    fn take_segment(&mut self, start: usize, frame_len: u64) -> Result<usize, WriteError> {
        let frame = self.buffer.split_off(start);
        self.flush()?;
        self.sync()?;
        let seq = self
            .next_seq
            .ok_or_else(|| StoreError::Full("segment numbers have run out".to_owned()))?;
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
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&frame);
        Ok(start)
    }

    fn flush(&mut self) -> Result<(), Failure> {
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

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        head.dirty = true;
        head.file
            .write_at(head.end, bytes)
            .map_err(failed("write to the journal"))?;
        head.end += bytes.len() as u64;
        self.tally.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        match &mut self.head {
            Some(head) if head.dirty => {
                self.tally.syncs += 1;
                head.file.sync_data().map_err(failed("sync the journal"))?;
                head.dirty = false;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the head still has a name and its size. Data written to an unlinked file is lost, and a truncated
    /// file has lost data that was answered for.
    pub(in crate::store) fn check_head(&self) -> Result<(), Failure> {
        let Some(head) = &self.head else { return Ok(()) };
        let identity = head.file.identity();
        let identity = identity.map_err(failed("look at the journal"))?;
        let how = match (identity.links, identity.size) {
            (0, _) => "was deleted or replaced",
            (_, size) if size < head.size => "was cut short",
            _ => return Ok(()),
        };
        let text = format!("{} {how}", layout::segment_file(head.seq));
        Err(Failure::FilesTaken(text))
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
    fn seal(&mut self) -> Result<(), Failure> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let end = u32::try_from(head.end).map_err(|_| doubt("a segment grew beyond 4 GiB"))?;
        let header = segment::encode_header(head.seq, head.salt, End::At(end));
        // Only the changed part is written: another process may read the header at this moment.
        let changed = header.get(segment::END..).unwrap_or_default();
        head.file
            .write_at(segment::END as u64, changed)
            .map_err(failed("write to the journal"))?;
        head.dirty = true;
        self.tally.bytes += changed.len() as u64;
        self.sync()
    }
}

fn doubt(text: &str) -> Failure {
    Failure::Disk(text.to_owned())
}

/// Random, but not secret from readers of the disk: the sender of a message must not be able to guess it.
#[allow(clippy::cast_possible_truncation, reason = "the low 64 of 80 random bits")]
fn salt() -> u64 {
    FlowId::random().as_u128() as u64
}
