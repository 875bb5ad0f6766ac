//! The key log: idempotency keys, for as long as they are kept.
//!
//! The journal is its write-ahead log: a segment with a key is deleted only after the key is durable here. Unlike an
//! event, a key must never be lost: the message would be accepted twice.

use super::lines::{self, LogFiles};
use crate::clock::Timestamp;
use crate::key::KeyDigest;
use crate::store::fs::Fs;
use crate::store::layout::KEYS;
use crate::store::mutex::locked;
use crate::store::types::{LoggedKeys, RememberedKey, StoreOptions};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The window, and the number of keys, are covered by this many files.
const FILES: u32 = 4;

#[derive(Debug)]
struct KeyState {
    /// How long, and how many, keys are kept.
    window: Duration,
    max: usize,
    lines: LogFiles,
    /// The number of keys in each file.
    counts: BTreeMap<u64, usize>,
    queue: Vec<RememberedKey>,
    /// The newest time of a key.
    now: Timestamp,
}

/// The key log.
#[derive(Debug)]
pub(in crate::store) struct KeyLog(Mutex<KeyState>);

impl KeyLog {
    /// Opens the log of the spool in `dir`; returns the keys within the bounds, oldest first, and the set of all keys
    /// in the files. Keys beyond the bounds stay in the files for a while.
    pub(in crate::store) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        options: &StoreOptions,
    ) -> io::Result<(Self, Vec<RememberedKey>, LoggedKeys)> {
        let (window, max) = (options.key_window, options.max_keys.max(1));
        let lines = LogFiles::open(Arc::clone(fs), dir.join(KEYS))?;
        let (mut keys, mut logged) = (VecDeque::new(), LoggedKeys::new());
        let mut counts = BTreeMap::new();
        for part in &lines.parts {
            for read in lines::scan(&**fs, &lines.dir, *part, 0)? {
                if let Some(key) = lines::unseal::<RememberedKey>(&read?.0) {
                    logged.insert((KeyDigest::of(&key.key), key.at));
                    *counts.entry(part.number).or_insert(0) += 1;
                    keys.push_back(key);
                } else {
                    // The journal may still hold it.
                    tracing::warn!(file = part.number, "a line of the key log is damaged");
                }
                if keys.len() > max {
                    keys.pop_front();
                }
            }
        }
        let mut keys = keys.into();
        within(&mut keys, window);
        let inner = KeyState {
            window,
            max,
            lines,
            counts,
            queue: Vec::new(),
            now: Timestamp::default(),
        };
        Ok((Self(Mutex::new(inner)), keys, logged))
    }

    /// Queues keys that are in the journal.
    pub(in crate::store) fn push(&self, keys: impl IntoIterator<Item = RememberedKey>) {
        locked(&self.0).queue.extend(keys);
    }

    /// Closes its file. What was not written is in the journal.
    pub(in crate::store) fn close(&self) {
        let mut inner = locked(&self.0);
        inner.queue.clear();
        inner.lines.head = None;
    }

    /// Writes the queue.
    pub(in crate::store) fn flush(&self) -> io::Result<()> {
        locked(&self.0).flush()
    }

    /// The first sync that failed. After it no segment with a key may be deleted, and the queue would have no bound.
    pub(in crate::store) fn failed(&self) -> Option<String> {
        locked(&self.0).lines.failed.clone()
    }

    /// The same, durably.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let mut inner = locked(&self.0);
        inner.flush()?;
        inner.lines.sync()?;
        let failed = inner.lines.failed.clone();
        failed.map_or(Ok(()), |text| Err(io::Error::other(text)))
    }
}

impl KeyState {
    fn flush(&mut self) -> io::Result<()> {
        let Some(newest) = self.queue.iter().map(|key| key.at).max() else {
            return Ok(());
        };
        self.now = self.now.max(newest);
        let head = self.lines.parts.back().map(|part| part.number);
        let old = |number| {
            let began = Timestamp(i64::try_from(number).unwrap_or(0));
            self.now.since(began) > self.window / FILES
        };
        let most = self.max.div_ceil(FILES as usize);
        let full = |number| self.counts.get(&number).is_some_and(|count| *count >= most);
        if self.lines.head.is_none() || head.is_none_or(|head| old(head) || full(head)) {
            let last = head.map_or(0, |head| head + 1);
            self.lines
                .begin(u64::try_from(self.now.0).unwrap_or(0).max(last))?;
        }
        let mut bytes = Vec::new();
        for key in &self.queue {
            lines::seal(&mut bytes, key)?;
        }
        self.lines.append(&bytes)?;
        let head = self.lines.parts.back().map_or(0, |part| part.number);
        *self.counts.entry(head).or_insert(0) += self.queue.len();
        self.queue.clear();
        self.drop_old();
        Ok(())
    }

    /// A file is deleted when the next one begins before the window, or when the later files hold as many keys as are
    /// kept.
    fn drop_old(&mut self) {
        let mut held: usize = self.counts.values().sum();
        while let (Some(oldest), Some(second)) = (self.lines.parts.front(), self.lines.parts.get(1)) {
            let began = Timestamp(i64::try_from(second.number).unwrap_or(i64::MAX));
            let oldest = oldest.number;
            let later = held - self.counts.get(&oldest).copied().unwrap_or(0);
            if self.now.since(began) <= self.window && later < self.max {
                break;
            }
            self.lines.drop_oldest();
            self.counts.remove(&oldest);
            held = later;
        }
    }
}

/// Drops keys that are older than `window`, and sorts the others, oldest first. The last key written counts as now, not the
/// latest: the clock may have been set back.
pub(in crate::store) fn within(keys: &mut Vec<RememberedKey>, window: Duration) {
    if let Some(now) = keys.last().map(|key| key.at) {
        keys.retain(|key| now.since(key.at) <= window);
    }
    keys.sort_by_key(|key| key.at);
}
