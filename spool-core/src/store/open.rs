//! Opening a spool, in two steps: first what is needed to accept mail; then, while mail is accepted, all existing
//! messages.
//!
//! [`Store::begin`] locks the directory and reads the end of the journal: torn writes, and the last numbers used. From
//! then on adds are accepted, in a segment of their own. [`Store::load_all`] replays the rest of the journal meanwhile.
//! Until it is done, a request for an existing message is answered with [`StoreError::Loading`], no segment is deleted
//! and nothing is compacted.

use super::care::compaction::Compaction;
use super::care::open_files::OpenFiles;
use super::care::recovery;
use super::dir::{self, DirLock};
use super::error::{Attempted as _, Failure, OpenError, StoreError};
use super::failure::Failures;
use super::fs::{Fs, RealFs};
use super::handle::Store;
use super::journal::index::Index;
use super::journal::reader::Reader;
use super::journal::replay::{self, Logged, Replay};
use super::journal::writer::Writer;
use super::layout;
use super::loading::{Loading, Pending, Progress};
use super::logs::destinations;
use super::logs::events::EventLog;
use super::logs::keys::{self, KeyLog};
use super::mutex::locked;
use super::types::{Damage, LoggedKeys, Recovered, Recovery, RememberedKey, StoreOptions};
use crate::destination::LearnedDestination;
use crate::id::MessageId;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Bounds of [`StoreOptions::segment_size`]; offsets have 32 bits.
pub(super) const MIN_SEGMENT: u64 = 64 << 10;
const MAX_SEGMENT: u64 = 2 << 30;
/// Messages passed on at once by [`Store::load_all`].
const CHUNK: usize = 4096;

/// What is known of a spool that accepts mail and loads the rest.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Begun {
    /// Idempotency keys in the key log; the journal may hold more.
    pub keys: Vec<RememberedKey>,
    /// The highest number of an event.
    pub last_event: u64,
    /// What earlier runs learned of destinations.
    pub destinations: Vec<LearnedDestination>,
    /// The highest message id at the end of the journal. The ids of this run start at a random number above it.
    pub last_id: Option<MessageId>,
}

impl Store {
    /// Locks `dir`, creates it if it is missing, and loads the existing messages.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed except that damage was copied and covered.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(RealFs), dir, options)
    }

    /// [`Store::open`] on another file system.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: &StoreOptions,
    ) -> Result<(Self, Recovery), OpenError> {
        let (store, begun) = Self::begin(fs, dir, options)?;
        let mut messages = Vec::new();
        let mut recovery = store.load_all(&mut |chunk| messages.extend(chunk))?;
        recovery.messages = messages;
        recovery.keys.splice(0..0, begun.keys);
        recovery.keys.sort_by_key(|key| key.at);
        Ok((store, recovery))
    }

    /// Locks `dir`, creates it if it is missing, and prepares to accept mail. [`Store::load_all`] must follow.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn begin(fs: Arc<dyn Fs>, dir: &Path, options: &StoreOptions) -> Result<(Self, Begun), OpenError> {
        let mut options = options.clone();
        options.segment_size = options.segment_size.clamp(MIN_SEGMENT, MAX_SEGMENT);
        let open_files = OpenFiles::new(&*fs, dir, DirLock::acquire(&*fs, dir)?)?;
        let journal = dir.join(layout::JOURNAL);
        let seqs = replay::segments(&*fs, &journal)?;
        let total = replay::measure(&*fs, &journal, &seqs)?;
        // No part of the journal was written by a newer program.
        dir::upgrade(&*fs, dir)?;
        let (events, keys, remembered, logged) = open_logs(&fs, dir, &options)?;
        let tail = replay::tail(&*fs, &journal, &seqs)?;
        // Before a new segment is written: only the last segment may have a torn end.
        let damage = recovery::repair(&*fs, dir, &tail)?;
        let last_event = tail.last_number.max(events.last());
        events.hold(last_event);
        let (last, of_writer) = (seqs.last().copied(), options.clone());
        let mut writer = Writer::new(Arc::clone(&fs), journal.clone(), of_writer, last, last_event);
        writer.new_segments.adopt_spare();
        let begun = Begun {
            keys: remembered,
            last_event,
            destinations: destinations::load(&*fs, dir),
            last_id: tail.last_id,
        };
        let pending = Pending {
            seqs,
            logged: Logged {
                events: events.complete_to(),
                keys: Some(logged),
            },
            torn_bytes: torn_bytes(&tail),
            damage,
        };
        let store = Self {
            reader: Reader::new(Arc::clone(&fs), journal.clone()),
            fs,
            journal,
            options,
            writer: Mutex::new(writer),
            index: Mutex::default(),
            events,
            keys,
            compaction: Mutex::new(Compaction::default()),
            loading: Loading {
                pending: Mutex::new(Some(pending)),
                total,
                ..Loading::default()
            },
            pending_deletion: Mutex::default(),
            scrub: Mutex::default(),
            findings: Mutex::default(),
            failures: Failures::default(),
            stats: Mutex::default(),
            unattended: AtomicU64::new(0),
            space: Mutex::default(),
            open_files,
        };
        store.maintain();
        Ok((store, begun))
    }

    /// Reads the existing messages, copies damage to `corrupt/`, and passes the live messages to `each` in the order of
    /// their ids. Before the first call of `each`, the store knows all of them. The returned value holds no messages; a
    /// second call does nothing.
    ///
    /// # Errors
    /// [`OpenError`]: the journal cannot be read, was written by a newer program, or [`Store::cancel_loading`] was
    /// called. Then the store accepts no more changes.
    pub fn load_all(&self, each: &mut dyn FnMut(Vec<Recovered>)) -> Result<Recovery, OpenError> {
        let Some(pending) = locked(&self.loading.pending).take() else {
            return Ok(Recovery::default());
        };
        self.load_pending(pending, each).inspect_err(|error| {
            self.failures.fail(Failure::Load(error.to_string()));
        })
    }

    fn load_pending(
        &self,
        pending: Pending,
        each: &mut dyn FnMut(Vec<Recovered>),
    ) -> Result<Recovery, OpenError> {
        let mut progress = |bytes| {
            self.loading.read.fetch_add(bytes, Relaxed);
            !self.loading.cancelled.load(Relaxed)
        };
        let mut replay = replay::replay(
            &*self.fs,
            &self.journal,
            &pending.seqs,
            pending.logged,
            replay::PATIENT,
            &mut progress,
        )?;
        // `begin` has rewritten them.
        replay.unsynced.clear();
        let mut damage = pending.damage;
        // An unreadable segment was left as it is, and is found again.
        let found = recovery::repair(&*self.fs, self.dir(), &replay)?;
        let new = |found: &Damage| !damage.contains(found);
        let new: Vec<Damage> = found.into_iter().filter(new).collect();
        damage.extend(new);
        let messages = replay.take_messages();
        let torn_bytes = pending.torn_bytes + torn_bytes(&replay);
        let pending_events = std::mem::take(&mut replay.pending_events);
        self.know(std::mem::take(&mut replay.index));
        let pending_events = replay::complete(pending_events, &self.reader);
        self.events.release(pending_events, replay.last_event);
        let mut keys = std::mem::take(&mut replay.keys);
        self.keys.push(keys.iter().cloned());
        keys::within(&mut keys, self.options.key_window);
        if let Err(error) = self.tidy_archives() {
            // The queue does not depend on the archives.
            tracing::warn!(%error, "the archives could not be cleaned up");
        }
        self.loading.over.store(true, Relaxed);
        self.maintain();
        let mut messages = messages.peekable();
        while messages.peek().is_some() {
            each(messages.by_ref().take(CHUNK).collect());
        }
        Ok(Recovery {
            messages: Vec::new(),
            torn_bytes,
            damage,
            last_id: replay.last_id,
            keys,
            last_event: self.last_event(),
        })
    }

    /// Merges the index of the existing messages with that of the messages added since.
    fn know(&self, mut found: Index) {
        // A growing table would delay adds, so it grows before they are locked out.
        let more = locked(&self.index).len();
        found.reserve(2 * more + CHUNK);
        let mut writer = locked(&self.writer);
        let mut index = locked(&self.index);
        let added = std::mem::replace(&mut *index, found);
        index.absorb(added);
        writer.staged.loaded = true;
    }

    /// Progress of reading; `None` once all is read, even if [`Store::load_all`] is still calling `each`.
    #[must_use]
    pub fn loading(&self) -> Option<Progress> {
        (!self.loading.over.load(Relaxed)).then(|| self.progress())
    }

    /// Progress of reading.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            read: self.loading.read.load(Relaxed),
            total: self.loading.total,
        }
    }

    /// Makes [`Store::load_all`] return an error soon, because the spool is about to be closed.
    pub fn cancel_loading(&self) {
        self.loading.cancelled.store(true, Relaxed);
    }

    /// An error while the existing messages are not known yet.
    pub(super) fn all_known(&self) -> Result<(), StoreError> {
        match self.loading() {
            None => Ok(()),
            Some(_) => Err(StoreError::Loading),
        }
    }
}

fn torn_bytes(replay: &Replay) -> u64 {
    replay.trailing.iter().map(|trailing| trailing.torn).sum()
}

fn open_logs(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &StoreOptions,
) -> Result<(EventLog, KeyLog, Vec<RememberedKey>, LoggedKeys), OpenError> {
    let events = EventLog::open(fs, dir, options.event_log_size);
    let events = events.on("open the event log of", dir)?;
    let keys = KeyLog::open(fs, dir, options);
    let (keys, remembered, logged) = keys.on("open the key log of", dir)?;
    Ok((events, keys, remembered, logged))
}
