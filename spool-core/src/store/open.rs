//! Opening a spool, in two steps: what is needed to take mail, and then, while mail is taken, all that was there.
//!
//! [`Store::begin`] locks the directory and looks at the end of the journal alone: what a crash may have torn, and the last
//! numbers that were given. From then on adds are taken, into a segment of their own. [`Store::load_all`] replays the whole
//! journal beside them. In between nobody can ask for, or change, what an earlier life left: the answer is
//! [`StoreError::Loading`]. No segment is given back and nothing is copied forward until all is known.

use super::care::compaction::Compaction;
use super::care::open_files::OpenFiles;
use super::care::pending_deletion::PendingDeletion;
use super::care::recovery;
use super::dir::{self, DirLock};
use super::error::{Failure, OpenError, StoreError};
use super::failure::Failures;
use super::fs::{Fs, RealFs};
use super::handle::{Counters, Store};
use super::journal::index::Index;
use super::journal::reader::Reader;
use super::journal::replay::{self, Logged, Patience, Replay};
use super::journal::writer::Writer;
use super::layout;
use super::loading::{Loading, Pending, Progress};
use super::logs::destinations;
use super::logs::events::EventLog;
use super::logs::keys::KeyLog;
use super::mutex::locked;
use super::types::{Damage, LoggedKeys, Recovered, Recovery, RememberedKey, StoreOptions};
use crate::destination::LearnedDestination;
use crate::id::MessageId;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// Bounds of [`StoreOptions::segment_size`]; offsets have 32 bits.
pub(super) const MIN_SEGMENT: u64 = 64 << 10;
const MAX_SEGMENT: u64 = 2 << 30;
/// Messages handed on at once by [`Store::load_all`].
const CHUNK: usize = 4096;

/// What a spool that takes mail, and loads the rest, knows already.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Begun {
    /// Names of adds that the key log holds; others may come to light.
    pub keys: Vec<RememberedKey>,
    /// The highest number of an event.
    pub last_event: u64,
    /// What earlier lives learned of destinations.
    pub destinations: Vec<LearnedDestination>,
    /// The highest message id at the end of the journal. Those of the next life begin at a random place above it.
    pub last_id: Option<MessageId>,
}

impl Store {
    /// Locks `dir`, making it when missing, and loads what is there.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed but for damage that was set aside.
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

    /// Locks `dir`, making it when missing, and gets ready to take mail. [`Store::load_all`] is to follow.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn begin(fs: Arc<dyn Fs>, dir: &Path, options: &StoreOptions) -> Result<(Self, Begun), OpenError> {
        let options = StoreOptions {
            segment_size: options.segment_size.clamp(MIN_SEGMENT, MAX_SEGMENT),
            ..options.clone()
        };
        let open_files = OpenFiles::new(&*fs, dir, DirLock::acquire(&*fs, dir)?)?;
        let journal = dir.join(layout::JOURNAL);
        let seqs = replay::segments(&*fs, &journal)?;
        let total = replay::measure(&*fs, &journal, &seqs)?;
        // Nothing newer than this program stands in it.
        dir::upgrade(&*fs, dir)?;
        let (events, keys, remembered, logged) = open_logs(&fs, dir, &options)?;
        let tail = replay::tail(&*fs, &journal, &seqs)?;
        // Before a new segment is written: only in the last one may an end be torn.
        let damage = recovery::repair(&*fs, dir, &tail)?;
        let logged_events = events.complete_to();
        let last_event = tail.last_number.max(events.last());
        events.hold(last_event);
        let last = seqs.last().copied();
        let mut writer = Writer::new(
            Arc::clone(&fs),
            journal.clone(),
            options.clone(),
            last,
            last_event,
        );
        writer.adopt_spare();
        let begun = Begun {
            keys: remembered,
            last_event,
            destinations: destinations::load(&*fs, dir),
            last_id: tail.last_id,
        };
        let pending = Pending {
            seqs,
            logged_events,
            logged_keys: logged,
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
            pending_deletion: PendingDeletion::default(),
            scrub: Mutex::default(),
            findings: Mutex::default(),
            failures: Failures::default(),
            counters: Counters::default(),
            free_space: Mutex::default(),
            open_files,
        };
        store.maintain();
        Ok((store, begun))
    }

    /// Reads what was there at the start, sets damage aside, and hands the live messages to `each` in the order of their
    /// ids. From the first of them on, the store knows all of them. What it returns holds no messages; a second call finds
    /// nothing more to do.
    ///
    /// # Errors
    /// [`OpenError`]: the journal cannot be read, was written by a newer program, or [`Store::cancel_loading`] was
    /// called. The store takes no change any more then.
    pub fn load_all(&self, each: &mut dyn FnMut(Vec<Recovered>)) -> Result<Recovery, OpenError> {
        let Some(pending) = locked(&self.loading.pending).take() else {
            return Ok(Recovery::default());
        };
        self.load_pending(pending, each).inspect_err(|error| {
            self.fail(Failure::Load(error.to_string()));
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
            Logged {
                events: pending.logged_events,
                keys: Some(pending.logged_keys),
            },
            Patience::WhileMailIsTaken,
            &mut progress,
        )?;
        // They were written again before mail was taken.
        replay.unsynced.clear();
        let mut damage = pending.damage;
        // What the disk does not give back was left as it is, and is met again.
        let found = recovery::repair(&*self.fs, self.dir(), &replay)?;
        let news = |found: &Damage| !damage.contains(found);
        let news: Vec<Damage> = found.into_iter().filter(news).collect();
        damage.extend(news);
        let messages = replay.take_messages();
        let torn_bytes = pending.torn_bytes + torn_bytes(&replay);
        let pending_events = std::mem::take(&mut replay.pending_events);
        self.know(std::mem::take(&mut replay.index));
        let pending_events = replay::complete(pending_events, &self.reader);
        self.events.release(pending_events, replay.last_event);
        let mut keys = std::mem::take(&mut replay.keys);
        keys.iter().for_each(|key| self.keys.push(key.clone()));
        // The last one written, not the latest: the clock may have been set back.
        if let Some(now) = keys.last().map(|key| key.at) {
            keys.retain(|key| now.since(key.at) <= self.options.key_window);
        }
        keys.sort_by_key(|key| key.at);
        if let Err(error) = self.tidy_archives() {
            // Mail on the journal does not wait for what lies on a shelf.
            tracing::warn!(%error, "the shelves could not be tidied");
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

    /// Puts what was found below what was added since.
    fn know(&self, mut found: Index) {
        // A growing table would hold up the adds: it grows before they are.
        let more = locked(&self.index).len();
        found.reserve(2 * more + CHUNK);
        let mut writer = locked(&self.writer);
        let mut index = locked(&self.index);
        let added = std::mem::replace(&mut *index, found);
        index.absorb(added);
        writer.staged.loaded = true;
    }

    /// How far reading has come; `None`: all is read, though [`Store::load_all`] may still be handing it over.
    #[must_use]
    pub fn loading(&self) -> Option<Progress> {
        (!self.loading.over.load(Relaxed)).then(|| self.progress())
    }

    /// How much of what was there at the start is read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            read: self.loading.read.load(Relaxed),
            total: self.loading.total,
        }
    }

    /// Lets [`Store::load_all`] end soon, with an error: the spool is about to be closed.
    pub fn cancel_loading(&self) {
        self.loading.cancelled.store(true, Relaxed);
    }

    /// An error while what lies in the journal is not known yet.
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
    let events = events.map_err(OpenError::io("open the event log of", dir))?;
    let keys = KeyLog::open(fs, dir, options);
    let (keys, remembered, logged) = keys.map_err(OpenError::io("open the key log of", dir))?;
    Ok((events, keys, remembered, logged))
}
