//! The writer: turns changes into frames at the end of the head segment, and makes them last with one sync.
//!
//! The next segment is always ready before an add is taken: preallocated, synced, named `spare`. So when the disk is
//! full, what is left of the head and all of the spare belong to state changes. A segment is synced, and then sealed, before
//! the next one gets its first byte: only the last one can have a torn end. After any error that leaves the disk in doubt the
//! writer must not be used again; its owner sees to that.

use super::frame::{self, Header, Place};
use super::index::Index;
use super::record;
use super::segment::{self, End};
use super::validate::Staged;
use crate::id::FlowId;
use crate::store::change::Change;
use crate::store::error::{Failure, StoreError};
use crate::store::fs::{Fs, FsDir, FsFile, Mode, is_shortage};
use crate::store::layout::{self, SPARE, Seq};
use crate::store::types::StoreOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bodies from here on are written from where they are, not copied.
const DIRECT: usize = 256 << 10;
/// What is gathered before a write.
const FLUSH: usize = 1 << 20;
/// How long a failed attempt to get a spare holds off the next one.
pub(in crate::store) const SPARE_PAUSE: Duration = Duration::from_millis(100);

/// Why a change was not written.
#[derive(Debug)]
pub(in crate::store) enum Trouble {
    /// Only this change: nothing of it is left behind.
    Refused(StoreError),
    /// The disk is in doubt, or what is written there is no longer a part of the spool.
    Failed(Failure),
}

impl Trouble {
    pub(in crate::store) fn full(text: impl Into<String>) -> Self {
        Self::Refused(StoreError::Full(text.into()))
    }

    fn doubt(text: &str) -> Self {
        Self::Failed(Failure::Disk(text.to_owned()))
    }

    /// A file that could not be made or opened; nothing was changed.
    fn refused(action: &str, error: &io::Error) -> Self {
        let text = format!("{action}: {error}");
        Self::Refused(match is_shortage(error) {
            true => StoreError::Shortage(text),
            false => StoreError::Full(text),
        })
    }

    fn disk(action: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed(Failure::Disk(format!("{action}: {error}")))
    }
}

/// What was written, counted.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::store) struct Tally {
    pub(in crate::store) syncs: u64,
    pub(in crate::store) bytes: u64,
}

#[derive(Debug)]
struct Head {
    file: Arc<dyn FsFile>,
    seq: Seq,
    salt: u64,
    size: u64,
    /// Where the next write goes.
    end: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
}

/// See the module.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    pub(in crate::store) fs: Arc<dyn Fs>,
    pub(in crate::store) journal: PathBuf,
    pub(in crate::store) options: StoreOptions,
    head: Option<Head>,
    /// The journal's directory, open: its sync must not depend on a descriptor being free.
    dir: Option<Arc<dyn FsDir>>,
    /// The next segment, open for the same reason.
    spare: Option<Arc<dyn FsFile>>,
    next_seq: Option<Seq>,
    spare_failed: Option<(Instant, StoreError)>,
    buffer: Vec<u8>,
    pub(in crate::store) staged: Staged,
    /// The number of the last event that was written.
    last_event: u64,
    tally: Tally,
}

/// A change that was written.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Placed {
    /// Which of the batch.
    pub(in crate::store) number: usize,
    pub(in crate::store) place: Place,
    /// Bytes of its frame.
    pub(in crate::store) length: u64,
}

/// The outcome of a batch.
#[derive(Debug, Default)]
pub(in crate::store) struct Batch {
    pub(in crate::store) results: Vec<Result<(), StoreError>>,
    /// Which changes were written, and where.
    pub(in crate::store) placed: Vec<Placed>,
    /// Free space as read for this batch, so that it is read once.
    pub(in crate::store) available: Option<u64>,
}

impl Writer {
    /// A writer that goes on after the segments up to `last`. The segment for the first frame is taken when needed.
    pub(in crate::store) fn new(
        fs: Arc<dyn Fs>,
        journal: PathBuf,
        options: StoreOptions,
        last: Option<Seq>,
        last_event: u64,
    ) -> Self {
        Self {
            fs,
            journal,
            options,
            head: None,
            dir: None,
            spare: None,
            next_seq: last.map_or(Some(Seq::MIN), |last| last.checked_add(1)),
            spare_failed: None,
            buffer: Vec::new(),
            staged: Staged::default(),
            last_event,
            tally: Tally::default(),
        }
    }

    /// What was written since this was last asked.
    pub(in crate::store) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The segment that is being written.
    pub(in crate::store) fn head(&self) -> Option<Seq> {
        self.head.as_ref().map(|head| head.seq)
    }

    /// Whether the next segment is ready.
    pub(in crate::store) fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    /// Writes and syncs what can be taken of `changes`. An error leaves the disk in doubt.
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
                Err(Trouble::Refused(error)) => batch.results.push(Err(error)),
                Err(Trouble::Failed(failure)) => return Err(failure),
            }
        }
        match self
            .flush()
            .and_then(|()| self.sync())
            .and_then(|()| self.check_head())
        {
            Ok(()) => Ok(batch),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Refused(error)) => Err(Failure::Disk(error.to_string())),
        }
    }

    /// Whether `change` can be written; for an add, the next segment must be ready too.
    fn check(&mut self, change: &Change, index: &Mutex<Index>, batch: &mut Batch) -> Result<(), Trouble> {
        let read = || self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
        let mut free_space = || *batch.available.get_or_insert_with(read);
        self.staged
            .check(change, index, &self.options, &mut free_space)
            .map_err(Trouble::Refused)?;
        match change {
            Change::Add(_) => self.make_spare().map(drop),
            Change::Mark { .. }
            | Change::State { .. }
            | Change::Route { .. }
            | Change::Finish { .. }
            | Change::Move(_)
            | Change::Note { .. } => Ok(()),
        }
    }

    /// Gives the events of `change` their numbers, and appends it. What is refused takes no number.
    fn numbered(&mut self, change: &mut Change) -> Result<(Place, u64), Trouble> {
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

    /// Encodes `change` at the end of the head, taking a new one if it does not fit; gives its place and length.
    fn append(&mut self, change: &Change) -> Result<(Place, u64), Trouble> {
        let body: &[u8] = match change {
            Change::Add(addition) | Change::Move(addition) => &addition.body,
            Change::Mark { .. }
            | Change::State { .. }
            | Change::Route { .. }
            | Change::Finish { .. }
            | Change::Note { .. } => &[],
        };
        let mut start = self.buffer.len();
        self.buffer.resize(start + frame::HEADER, 0);
        let mut encoded = record::encode(change, &mut self.buffer)
            .ok()
            .and_then(|kind| Header::of(kind, self.buffer.get(start + frame::HEADER..)?, body, 0))
            .ok_or_else(|| Trouble::Refused(StoreError::Invalid("the change cannot be encoded".to_owned())));
        if let Ok(header) = &encoded
            && !self.fits(body.len())
            && let Err(trouble) = self.take_segment(&mut start, header.frame_len())
        {
            encoded = Err(trouble);
        }
        let header = match encoded {
            Ok(header) => header,
            Err(trouble) => {
                self.buffer.truncate(start);
                return Err(trouble);
            }
        };
        let Some(head) = &mut self.head else {
            return Err(Trouble::doubt("the journal has no head"));
        };
        let offset = u32::try_from(head.end + start as u64);
        let place = Place {
            seq: head.seq,
            offset: offset.map_err(|_| Trouble::doubt("a segment grew beyond 4 GiB"))?,
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

    /// Whether the buffer, and a body behind it, fit into the head.
    fn fits(&self, body: usize) -> bool {
        let more = (self.buffer.len() + body) as u64;
        self.head
            .as_ref()
            .is_some_and(|head| head.end + more <= head.size)
    }

    /// Moves the frame that begins at `start` in the buffer to a new segment. When there is none, the buffer holds
    /// only what was there before the frame, and nothing has changed.
    fn take_segment(&mut self, start: &mut usize, frame_len: u64) -> Result<(), Trouble> {
        let frame = self.buffer.split_off(*start);
        self.flush()?;
        self.sync()?;
        *start = 0;
        let seq = self
            .next_seq
            .ok_or_else(|| Trouble::full("segment numbers have run out"))?;
        let needed = segment::HEADER as u64 + frame_len;
        let path = layout::segment_path(&self.journal, seq);
        self.open_dir()?;
        let (file, size) = if needed <= self.options.segment_size {
            let file = self.make_spare()?;
            // Nothing is in doubt yet, and a full disk may have no room for a name.
            self.fs
                .rename(&self.journal.join(SPARE), &path)
                .map_err(|error| Trouble::refused("no new segment", &error))?;
            self.spare = None;
            (file, self.options.segment_size)
        } else {
            if u32::try_from(needed).is_err() {
                let text = "a frame is less than 4 GiB".to_owned();
                return Err(Trouble::Refused(StoreError::Invalid(text)));
            }
            (self.allocate(&path, needed)?, needed)
        };
        self.sync_dir()?;
        self.seal()?;
        if let Some(old) = &self.head {
            // Gives back what was reserved and not used. Nothing depends on it.
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

    /// Sees to it that the next segment is ready; after a failure, not at once again.
    pub(in crate::store) fn make_spare(&mut self) -> Result<Arc<dyn FsFile>, Trouble> {
        if let Some(spare) = &self.spare {
            return Ok(Arc::clone(spare));
        }
        if let Some((at, error)) = &self.spare_failed
            && at.elapsed() < SPARE_PAUSE
        {
            return Err(Trouble::Refused(error.clone()));
        }
        let path = self.journal.join(SPARE);
        let made = self.open_dir().and_then(|()| {
            // One that was left half made.
            let _ = self.fs.unlink(&path);
            self.allocate(&path, self.options.segment_size)
        });
        if let Err(Trouble::Refused(error)) = &made {
            self.spare_failed = Some((Instant::now(), error.clone()));
        }
        let spare = made?;
        self.sync_dir()?;
        self.spare = Some(Arc::clone(&spare));
        self.spare_failed = None;
        Ok(spare)
    }

    /// Takes over the spare that an earlier run left, if it is of the right size and has no other name to be written under.
    pub(in crate::store) fn adopt_spare(&mut self) {
        // Without it, the first segment asks again.
        let _ = self.open_dir();
        let file = self.fs.open(&self.journal.join(SPARE), Mode::Write).ok();
        let whole = |file: &Arc<dyn FsFile>| file.size().is_ok_and(|size| size == self.options.segment_size);
        let own = |file: &Arc<dyn FsFile>| file.is_shared().is_ok_and(|shared| !shared);
        self.spare = file.filter(|file| whole(file) && own(file));
    }

    fn open_dir(&mut self) -> Result<(), Trouble> {
        if self.dir.is_none() {
            let opened = self.fs.open_dir(&self.journal);
            let refused = |error| Trouble::refused("cannot open the journal's directory", &error);
            self.dir = Some(opened.map_err(refused)?);
        }
        Ok(())
    }

    /// A new file with `size` bytes reserved and synced, its name not yet.
    fn allocate(&mut self, path: &Path, size: u64) -> Result<Arc<dyn FsFile>, Trouble> {
        let refused =
            |error: io::Error| Trouble::refused(&format!("no room for {size} bytes of journal"), &error);
        let file = self.fs.open(path, Mode::Create).map_err(refused)?;
        if let Err(error) = file.allocate(size) {
            let _ = self.fs.unlink(path);
            return Err(refused(error));
        }
        self.tally.syncs += 1;
        file.sync_data().map_err(Trouble::disk("sync a new segment"))?;
        Ok(file)
    }

    fn flush(&mut self) -> Result<(), Trouble> {
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

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        head.dirty = true;
        head.file
            .write_at(head.end, bytes)
            .map_err(Trouble::disk("write to the journal"))?;
        head.end += bytes.len() as u64;
        self.tally.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        match &mut self.head {
            Some(head) if head.dirty => {
                self.tally.syncs += 1;
                head.file.sync_data().map_err(Trouble::disk("sync the journal"))?;
                head.dirty = false;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the head still has a name, and the size that it was given. What was written to one without a name is on no disk, and one
    /// that was cut short has lost what was answered before: nothing more may be answered.
    pub(in crate::store) fn check_head(&self) -> Result<(), Trouble> {
        let Some(head) = &self.head else { return Ok(()) };
        let identity = head.file.identity();
        let identity = identity.map_err(Trouble::disk("look at the journal"))?;
        let how = match (identity.links, identity.size) {
            (0, _) => "was deleted or replaced",
            (_, size) if size < head.size => "was cut short",
            _ => return Ok(()),
        };
        let text = format!("{} {how}", layout::segment_file(head.seq));
        Err(Trouble::Failed(Failure::FilesTaken(text)))
    }

    /// The files that are held open to be written, with their paths.
    pub(in crate::store) fn open_files(&self) -> Vec<(Arc<dyn FsFile>, PathBuf)> {
        let head = self.head.as_ref();
        let head = head.map(|head| {
            (
                Arc::clone(&head.file),
                layout::segment_path(&self.journal, head.seq),
            )
        });
        let spare = self
            .spare
            .as_ref()
            .map(|spare| (Arc::clone(spare), self.journal.join(SPARE)));
        head.into_iter().chain(spare).collect()
    }

    /// Closes every file. Nothing can be written afterwards.
    pub(in crate::store) fn close(&mut self) {
        (self.head, self.dir, self.spare, self.next_seq) = (None, None, None, None);
    }

    /// Writes into the head where it ends, after all of it was synced. From here on nothing may be written to it.
    fn seal(&mut self) -> Result<(), Trouble> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let end = u32::try_from(head.end).map_err(|_| Trouble::doubt("a segment grew beyond 4 GiB"))?;
        let header = segment::encode_header(head.seq, head.salt, End::At(end));
        // What does not change is left alone: whoever looks from outside at this moment must find a whole header.
        let changed = header.get(segment::END..).unwrap_or_default();
        head.file
            .write_at(segment::END as u64, changed)
            .map_err(Trouble::disk("write to the journal"))?;
        head.dirty = true;
        self.tally.bytes += changed.len() as u64;
        self.sync()
    }

    /// Makes the journal's names last.
    pub(in crate::store) fn sync_dir(&mut self) -> Result<(), Trouble> {
        self.tally.syncs += 1;
        let synced = match &self.dir {
            Some(dir) => dir.sync(),
            None => self.fs.sync_dir(&self.journal),
        };
        synced.map_err(Trouble::disk("sync the journal's directory"))
    }
}

/// Chance, not secrecy towards readers of the disk: a mail's sender must not be able to guess it.
#[allow(clippy::cast_possible_truncation, reason = "the low 64 of 80 random bits")]
fn salt() -> u64 {
    FlowId::random().as_u128() as u64
}
