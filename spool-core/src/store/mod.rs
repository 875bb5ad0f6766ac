//! The file layer: a write-ahead journal with group commit.
//!
//! [`Store::commit`] answers only after everything it was given is synced, with the directory wherever a file was
//! created. Nothing is ever half there: one [`Change`] is one atomic frame. The store decides nothing about mail, has
//! no thread and no clock of its own, and knows no async: callers bring one writer and as many readers as they like.

mod change;
mod compaction;
mod destinations;
mod dir;
mod error;
mod event_log;
mod failure;
mod frame;
pub mod fs;
mod fsck;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod index;
mod key_log;
mod lines;
mod offline;
mod open;
mod permit;
mod reader;
mod record;
mod recovery;
mod replay;
mod scan;
mod scrub;
mod segment;
mod shelf;
#[cfg(test)]
mod tests;
mod types;
mod waste;
mod window;
mod writer;

pub use change::{Addition, Change, Conclusion, Finish, NewMessage, Outcome};
pub use destinations::MAX_DESTINATIONS;
pub use dir::examine_dir;
pub use error::{Failure, OpenError, StoreError};
pub use event_log::EventCursor;
pub use fsck::{Ailment, Checkup, Finding, Repair, checkup, checkup_on};
pub use offline::{
    ReadBody, count_from_disk, count_from_disk_on, mail_from_disk, status_from_disk, status_from_disk_on,
};
pub use open::{Begun, Progress};
pub use scrub::Scrubbed;
pub use shelf::{
    LISTING_BYTES, Listed, Shelf, Shelved, export_pair, shelf_from_disk, shelved_text_from_disk,
};
pub use types::{Damage, Recovered, Recovery, RememberedKey, StoreOptions, StoreStats};

use crate::id::MessageId;
use crate::message::Message;
use bytes::Bytes;
use compaction::Compaction;
use event_log::EventLog;
use failure::OnFailure;
use fs::{Fs, Mode};
use held::Held;
use index::{Entry, Index, weight};
use key_log::KeyLog;
use open::Loading;
use reader::{Reader, Row, Unread};
use scrub::{Findings, Scrub};
use segment::Seq;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use waste::Waste;
use writer::{Placed, Tally, Trouble, Writer};

/// Bounds of [`StoreOptions::segment_size`]; offsets have 32 bits.
const MIN_SEGMENT: u64 = 64 << 10;
const MAX_SEGMENT: u64 = 2 << 30;
/// Commits without [`Store::maintain`] after which a commit calls it.
const MAX_UNATTENDED: u64 = 1000;
/// With less room than for so many segments, space is given back at once.
const ROOMY: u64 = 8;
/// How long [`Store::admit`] trusts what it read of the free space.
const GAUGE_AGE: Duration = Duration::from_millis(100);

/// An open spool directory. One writer at a time inside [`Store::commit`]; reads run beside it.
///
/// Dropping it gives the directory free. There is nothing to close: whatever was answered is on disk.
#[derive(Debug)]
pub struct Store {
    fs: Arc<dyn Fs>,
    journal: PathBuf,
    options: StoreOptions,
    writer: Mutex<Writer>,
    index: Mutex<Index>,
    reader: Reader,
    events: EventLog,
    keys: KeyLog,
    compaction: Mutex<Compaction>,
    loading: Loading,
    waste: Waste,
    scrub: Mutex<Scrub>,
    findings: Mutex<Findings>,
    /// Why no change is taken any more.
    failed: OnceLock<Failure>,
    /// Who is told of it.
    on_failure: OnceLock<OnFailure>,
    counters: Counters,
    gauge: Mutex<Option<(Instant, u64)>>,
    held: Held,
}

/// Loads messages one after the other; see [`Store::in_a_row`].
#[derive(Debug)]
pub struct Loads<'a> {
    store: &'a Store,
    row: Row<'a>,
}

impl Loads<'_> {
    /// As [`Store::load`].
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load(&mut self, id: MessageId) -> Result<Message, StoreError> {
        self.store.read(id, |entry| self.row.message(id, entry))
    }
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    changes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    /// Messages copied forward.
    moved: AtomicU64,
    /// Commits since [`Store::maintain`] last ran.
    unattended: AtomicU64,
}

impl Store {
    /// Writes `changes` in order with one sync, and answers for each. A `Full` add leaves nothing behind and does not
    /// touch the others; a failed write or sync fails all of them, and every commit after.
    ///
    /// Call [`Store::maintain`] afterwards, when the answers are out.
    pub fn commit(&self, changes: &mut [Change]) -> Vec<Result<(), StoreError>> {
        if self.counters.unattended.fetch_add(1, Relaxed) >= MAX_UNATTENDED {
            self.maintain();
        }
        self.commit_with(&mut locked(&self.writer), changes)
    }

    fn commit_with(&self, writer: &mut Writer, changes: &mut [Change]) -> Vec<Result<(), StoreError>> {
        if let Some(failure) = self.failed.get() {
            return all_failed(changes, failure);
        }
        let written = writer.write(changes, &self.index);
        self.count(writer.take_tally());
        match written {
            Ok(batch) => {
                let mut index = locked(&self.index);
                for placed in &batch.placed {
                    if let Some(change) = changes.get(placed.number) {
                        apply(&mut index, change, *placed);
                        self.events.push(change.events());
                        if let Change::Add(addition) = change {
                            self.keys.push_of(addition);
                        }
                    }
                }
                if !batch.placed.is_empty() {
                    self.counters.commits.fetch_add(1, Relaxed);
                    self.counters
                        .changes
                        .fetch_add(batch.placed.len() as u64, Relaxed);
                }
                batch.results
            }
            Err(failure) => all_failed(changes, self.fail(failure)),
        }
    }

    /// Gets the next segment ready and gives finished ones back to the disk. It returns at once when there is
    /// nothing to do. Meant for the time after a commit's answers: nothing waits for it but the next commit.
    pub fn maintain(&self) {
        self.counters.unattended.store(0, Relaxed);
        if let Some(Failure::FilesTaken(_) | Failure::Closed) = self.failed.get() {
            // Its paths may lead to another spool by now.
            return;
        }
        // What the disk does not take goes on waiting.
        let _ = (self.events.flush(), self.keys.flush());
        let mut writer = locked(&self.writer);
        if self.failed.get().is_some() {
            return;
        }
        let done = self.maintain_with(&mut writer);
        self.count(writer.take_tally());
        if let Err(failure) = done {
            self.fail(failure);
        }
    }

    fn maintain_with(&self, writer: &mut Writer) -> Result<(), Failure> {
        let doubt = |trouble| match trouble {
            Trouble::Refused(_) => None,
            Trouble::Failed(failure) => Some(failure),
        };
        // What a full disk gets back first is what makes room for the spare.
        while self.loading().is_none() {
            if !locked(&self.index).has_changed() || !self.logs_are_durable() {
                break;
            }
            let free = locked(&self.index).take_free(writer.head());
            let unlink = |seq: &Seq| {
                let path = segment::path(&self.journal, *seq);
                // While it is open, only its name goes: to free its blocks takes longer than a commit may.
                self.waste.keep(self.fs.open(&path, Mode::Read).ok());
                match self.fs.unlink(&path) {
                    Ok(()) => true,
                    Err(error) => error.kind() == io::ErrorKind::NotFound,
                }
            };
            let gone: Vec<Seq> = free.into_iter().filter(unlink).collect();
            if gone.is_empty() {
                break;
            }
            // A segment may hold the ends of messages in an older one: the older one's name goes first, for good.
            // Whatever is wrong with that sync, nothing may be dropped behind it.
            if let Err(trouble) = writer.sync_dir() {
                let refused = || Failure::Disk("the journal's directory was not synced".to_owned());
                return Err(doubt(trouble).unwrap_or_else(refused));
            }
            let mut index = locked(&self.index);
            for seq in gone {
                index.drop_segment(seq);
                self.reader.forget(seq);
            }
            if self.available() < ROOMY * self.options.segment_size {
                self.give_back();
            }
        }
        if let Some(text) = self.keys.failed() {
            return Err(Failure::Disk(text));
        }
        match writer.make_spare().map_err(doubt) {
            Err(Some(failure)) => Err(failure),
            Ok(_) | Err(None) => Ok(()),
        }
    }

    /// Frees the space of segments that were given up. It may take a while, and is meant for a thread that nobody waits for,
    /// about every second; where space is short, [`Store::maintain`] does it itself.
    pub fn give_back(&self) {
        self.waste.empty();
    }

    /// What a segment tells must be in the logs before it goes. An event may be lost to a full disk, a name may not.
    fn logs_are_durable(&self) -> bool {
        let _ = self.events.sync();
        self.keys.sync().is_ok()
    }

    /// Whether an add of `size` bytes would find room now. Cheap and lock-free enough to ask for every MAIL.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`].
    pub fn admit(&self, size: u64) -> Result<(), StoreError> {
        if let Some(failure) = self.failed.get() {
            return Err(StoreError::Failed(failure.to_string()));
        }
        let limit = self.options.max_messages;
        if limit > 0 {
            self.all_known()?;
        }
        if limit > 0 && locked(&self.index).len() as u64 >= limit {
            return Err(StoreError::Full(format!("{limit} messages are on the spool")));
        }
        let floor = self.options.min_free_space;
        if floor > 0 {
            let available = self.available();
            if available < floor.saturating_add(size) {
                let text = format!("{available} bytes are free, {floor} are to stay so");
                return Err(StoreError::Full(text));
            }
        }
        // When a commit is running, it will find out by itself.
        if let Ok(mut writer) = self.writer.try_lock()
            && !writer.has_spare()
        {
            let made = writer.make_spare();
            self.count(writer.take_tally());
            return match made {
                Ok(_) => Ok(()),
                Err(Trouble::Refused(error)) => Err(error),
                Err(Trouble::Failed(failure)) => Err(StoreError::Failed(self.fail(failure).to_string())),
            };
        }
        Ok(())
    }

    /// Free space, not older than [`GAUGE_AGE`].
    fn available(&self) -> u64 {
        let mut gauge = locked(&self.gauge);
        if let Some((at, available)) = *gauge
            && at.elapsed() < GAUGE_AGE
        {
            return available;
        }
        let available = self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
        *gauge = Some((Instant::now(), available));
        available
    }

    /// A live message, without its body.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`], [`StoreError::Damaged`], [`StoreError::Loading`].
    pub fn load(&self, id: MessageId) -> Result<Message, StoreError> {
        self.read(id, |entry| self.reader.message(id, entry))
    }

    /// To load many messages: those of one add, one after the other, cost one read of it.
    #[must_use]
    pub const fn in_a_row(&self) -> Loads<'_> {
        Loads {
            store: self,
            row: self.reader.in_a_row(),
        }
    }

    /// Its body, checked.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn body(&self, id: MessageId) -> Result<Bytes, StoreError> {
        self.read(id, |entry| self.reader.body(entry.add))
    }

    /// Reads without holding the index: a segment may go away meanwhile, but then the entry has changed too.
    fn read<T>(
        &self,
        id: MessageId,
        mut get: impl FnMut(Entry) -> Result<T, Unread>,
    ) -> Result<T, StoreError> {
        let mut before = None;
        loop {
            let Some(entry) = locked(&self.index).get(id) else {
                return Err(self.all_known().err().unwrap_or(StoreError::NoSuchMessage(id)));
            };
            let reason = match get(entry) {
                Ok(value) => return Ok(value),
                Err(Unread::Gone) if before != Some(entry) => {
                    before = Some(entry);
                    continue;
                }
                Err(Unread::Gone) => "its segment is missing".to_owned(),
                Err(Unread::Damaged(reason)) => reason,
                Err(Unread::NotNow(reason)) => return Err(StoreError::NotNow { id, reason }),
            };
            return Err(StoreError::Damaged { id, reason });
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> StoreStats {
        let index = locked(&self.index);
        StoreStats {
            commits: self.counters.commits.load(Relaxed),
            changes: self.counters.changes.load(Relaxed),
            syncs: self.counters.syncs.load(Relaxed),
            bytes: self.counters.bytes.load(Relaxed),
            messages: index.len() as u64,
            segments: index.segments() as u64,
            moved: self.counters.moved.load(Relaxed),
            frames_read: self.reader.frames(),
        }
    }

    fn count(&self, tally: Tally) {
        self.counters.syncs.fetch_add(tally.syncs, Relaxed);
        self.counters.bytes.fetch_add(tally.bytes, Relaxed);
    }
}

fn apply(index: &mut Index, change: &Change, placed: Placed) {
    let Placed { place, length, .. } = placed;
    let small = matches!(
        change,
        Change::Mark { .. } | Change::State { .. } | Change::Route { .. }
    );
    index.wrote(place.seq, length, small);
    match change {
        Change::Add(addition) => {
            let weight = weight(length, addition.messages.len());
            for (section, message) in (0..).zip(&addition.messages) {
                index.add(message.id, place, section, weight);
            }
            match &addition.conclusion {
                Some(Conclusion {
                    id,
                    outcome: Outcome::State(_),
                }) => {
                    index.state(*id, place);
                }
                Some(Conclusion {
                    id,
                    outcome: Outcome::Finish(_),
                }) => {
                    index.finish(*id, place.seq);
                }
                None => {}
            }
        }
        Change::Move(addition) => {
            let weight = weight(length, addition.messages.len());
            for (section, message) in (0..).zip(&addition.messages) {
                index.relocate(message.id, place, section, weight);
            }
        }
        Change::Mark { id, .. } => {
            index.mark(*id, place);
        }
        Change::State { id, .. } => {
            index.state(*id, place);
        }
        Change::Route { id, .. } => {
            index.route(*id, place);
        }
        Change::Finish { id, .. } => {
            index.finish(*id, place.seq);
        }
        Change::Note { .. } => {}
    }
}

fn all_failed(changes: &[Change], failure: &Failure) -> Vec<Result<(), StoreError>> {
    let failed = || Err(StoreError::Failed(failure.to_string()));
    changes.iter().map(|_| failed()).collect()
}

/// Locks; a panic elsewhere left nothing half done that the next holder could not work with.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
