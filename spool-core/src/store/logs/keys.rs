//! The key log: idempotency keys, for as long as they are kept.
//!
//! The journal is its write-ahead log: a segment with a key is deleted only after the key is durable here. Unlike an
//! event, a key must never be lost: the message would be accepted twice.

use super::lines::{self, LogFile, LogFiles};
use crate::clock::Timestamp;
use crate::key::KeyDigest;
use crate::store::change::Addition;
use crate::store::fs::{Fs, Mode};
use crate::store::layout::KEYS;
use crate::store::mutex::locked;
use crate::store::types::{LoggedKeys, RememberedKey, StoreOptions};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The window, and the number of keys, are covered by this many files.
const FILES: u32 = 4;

#[derive(Debug)]
struct KeyState {
    lines: LogFiles,
    /// The number of keys in each file.
    counts: BTreeMap<u64, usize>,
    queue: Vec<RememberedKey>,
    /// The newest time of a key.
    now: Timestamp,
}

/// How long, and how many, keys are kept.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    window: Duration,
    max: usize,
}

/// The key log.
#[derive(Debug)]
pub(in crate::store) struct KeyLog {
    bounds: Bounds,
    inner: Mutex<KeyState>,
}

impl KeyLog {
    /// Opens the log of the spool in `dir`; returns the keys within the bounds, oldest first, and the set of all keys
    /// in the files. Keys beyond the bounds stay in the files for a while.
    pub(in crate::store) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        options: &StoreOptions,
    ) -> io::Result<(Self, Vec<RememberedKey>, LoggedKeys)> {
        let bounds = Bounds {
            window: options.key_window,
            max: options.max_keys.max(1),
        };
        let lines = LogFiles::open(Arc::clone(fs), dir.join(KEYS))?;
        let (mut keys, mut logged) = (VecDeque::new(), LoggedKeys::new());
        let mut counts = BTreeMap::new();
        for part in lines.parts() {
            let file = fs.open(&lines.path(part.number), Mode::Read)?;
            lines::scan(&*file, 0, part.size, &mut |line, _| {
                if let Some(key) = lines::unseal::<RememberedKey>(line) {
                    logged.insert((KeyDigest::of(&key.key), key.at));
                    *counts.entry(part.number).or_insert(0) += 1;
                    keys.push_back(key);
                } else {
                    // The journal may still hold it.
                    tracing::warn!(file = part.number, "a line of the key log is damaged");
                }
                if keys.len() > bounds.max {
                    keys.pop_front();
                }
                ControlFlow::Continue(())
            })?;
        }
        let mut keys: Vec<RememberedKey> = keys.into();
        // The last key written, not the latest: the clock may have been set back.
        if let Some(now) = keys.last().map(|key| key.at) {
            keys.retain(|key| now.since(key.at) <= bounds.window);
        }
        keys.sort_by_key(|key| key.at);
        let (queue, now) = (Vec::new(), Timestamp::default());
        let inner = Mutex::new(KeyState {
            lines,
            counts,
            queue,
            now,
        });
        Ok((Self { bounds, inner }, keys, logged))
    }

    fn lock(&self) -> MutexGuard<'_, KeyState> {
        locked(&self.inner)
    }

    /// Queues a key that is in the journal.
    pub(in crate::store) fn push(&self, key: RememberedKey) {
        self.lock().queue.push(key);
    }

    /// Queues the key of an add, if it has one.
    pub(in crate::store) fn push_of(&self, addition: &Addition) {
        if let Some(key) = addition.key.clone() {
            let ids = addition.messages.iter().map(|message| message.id).collect();
            let at = addition.spooled_at;
            self.push(RememberedKey::new(key.key, key.fingerprint, ids, at));
        }
    }

    /// Closes its file. What was not written is in the journal.
    pub(in crate::store) fn close(&self) {
        let mut inner = self.lock();
        inner.queue.clear();
        inner.lines.close();
    }

    /// Writes the queue.
    pub(in crate::store) fn flush(&self) -> io::Result<()> {
        self.lock().flush(self.bounds)
    }

    /// The first sync that failed. After it no segment with a key may be deleted, and the queue would have no bound.
    pub(in crate::store) fn failed(&self) -> Option<String> {
        self.lock().lines.failed()
    }

    /// The same, durably.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.flush(self.bounds)?;
        inner.lines.sync()?;
        inner
            .lines
            .failed()
            .map_or(Ok(()), |text| Err(io::Error::other(text)))
    }
}

impl KeyState {
    fn flush(&mut self, bounds: Bounds) -> io::Result<()> {
        let Bounds { window, max } = bounds;
        let Some(newest) = self.queue.iter().map(|key| key.at).max() else {
            return Ok(());
        };
        self.now = self.now.max(newest);
        let began = |lines: &LogFiles| {
            lines
                .parts()
                .back()
                .map(|part| Timestamp(i64::try_from(part.number).unwrap_or(0)))
        };
        let old = |began: Timestamp| self.now.since(began) > window / FILES;
        let head = self.lines.parts().back().map_or(0, |part| part.number);
        let full = self
            .counts
            .get(&head)
            .is_some_and(|count| *count >= max.div_ceil(FILES as usize));
        if !self.lines.has_head() || full || began(&self.lines).is_none_or(old) {
            let last = self.lines.parts().back().map_or(0, |part| part.number + 1);
            self.lines
                .begin(u64::try_from(self.now.0).unwrap_or(0).max(last))?;
        }
        let mut bytes = Vec::new();
        for key in &self.queue {
            lines::seal(&mut bytes, key)?;
        }
        self.lines.append(&bytes)?;
        let head = self.lines.parts().back().map_or(0, |part| part.number);
        *self.counts.entry(head).or_insert(0) += self.queue.len();
        self.queue.clear();
        self.drop_old(bounds);
        Ok(())
    }

    /// A file is deleted when the next one begins before the window, or when the later files hold as many keys as are
    /// kept.
    fn drop_old(&mut self, Bounds { window, max }: Bounds) {
        let mut held: usize = self.counts.values().sum();
        let two = |parts: &VecDeque<LogFile>| Some((parts.front()?.number, parts.get(1)?.number));
        while let Some((oldest, second)) = two(self.lines.parts()) {
            let began = Timestamp(i64::try_from(second).unwrap_or(i64::MAX));
            let later = held - self.counts.get(&oldest).copied().unwrap_or(0);
            if self.now.since(began) <= window && later < max {
                break;
            }
            self.lines.drop_oldest();
            self.counts.remove(&oldest);
            held = later;
        }
    }
}
