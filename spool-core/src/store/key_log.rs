//! The key log: the names that submitters gave to their adds, for as long as they are remembered.
//!
//! The journal is its write-ahead log: a segment with a name in it is given back only after the name is durable here. Unlike
//! an event, a name must never be forgotten: mail would be spooled twice.

use super::change::Addition;
use super::fs::{Fs, Mode};
use super::lines::{self, Lines};
use super::types::RememberedKey;
use crate::clock::Timestamp;
use crate::id::MessageId;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The log's directory.
pub(super) const KEYS: &str = "keys";
/// The window is covered by so many files.
const FILES: u32 = 4;

/// One line of it.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    ids: Vec<MessageId>,
    at: Timestamp,
}

#[derive(Debug)]
struct Inner {
    lines: Lines,
    queue: Vec<RememberedKey>,
    /// The newest time seen.
    now: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct KeyLog {
    window: Duration,
    inner: Mutex<Inner>,
}

impl KeyLog {
    /// Opens the log of the spool in `dir`; gives what it remembers, oldest first.
    pub(super) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        window: Duration,
    ) -> io::Result<(Self, Vec<RememberedKey>)> {
        let lines = Lines::open(Arc::clone(fs), dir.join(KEYS))?;
        let mut keys = Vec::new();
        for part in lines.parts() {
            let file = fs.open(&lines.path(part.number), Mode::Read)?;
            lines::scan(&*file, 0, part.size, &mut |line, _| {
                if let Some(Line { key, ids, at }) = lines::unseal(line) {
                    keys.push(RememberedKey { key, ids, at });
                } else {
                    // The journal may still tell it.
                    tracing::warn!(file = part.number, "a line of the key log is damaged");
                }
                ControlFlow::Continue(())
            })?;
        }
        let (queue, now) = (Vec::new(), Timestamp::default());
        let inner = Mutex::new(Inner { lines, queue, now });
        Ok((Self { window, inner }, keys))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name that the journal holds.
    pub(super) fn push(&self, key: RememberedKey) {
        self.lock().queue.push(key);
    }

    /// Takes the name of an add, if it has one.
    pub(super) fn push_of(&self, addition: &Addition) {
        if let Some(key) = addition.key.clone() {
            let ids = addition.messages.iter().map(|message| message.id).collect();
            let at = addition.spooled_at;
            self.push(RememberedKey { key, ids, at });
        }
    }

    /// Closes its file; what was not written is in the journal.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.queue.clear();
        inner.lines.close();
    }

    /// Writes what waits.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.lock().flush(self.window)
    }

    /// The first sync that failed. No segment with a name in it may go after it, and the names in memory would have no bound.
    pub(super) fn failed(&self) -> Option<String> {
        self.lock().lines.failed()
    }

    /// The same, durably.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.flush(self.window)?;
        inner.lines.sync()?;
        inner
            .lines
            .failed()
            .map_or(Ok(()), |text| Err(io::Error::other(text)))
    }
}

impl Inner {
    fn flush(&mut self, window: Duration) -> io::Result<()> {
        let Some(newest) = self.queue.iter().map(|key| key.at).max() else {
            return Ok(());
        };
        self.now = self.now.max(newest);
        let began = |lines: &Lines| {
            lines
                .parts()
                .back()
                .map(|part| Timestamp(i64::try_from(part.number).unwrap_or(0)))
        };
        let old = |began: Timestamp| self.now.since(began) > window / FILES;
        if !self.lines.has_head() || began(&self.lines).is_none_or(old) {
            let last = self.lines.parts().back().map_or(0, |part| part.number + 1);
            self.lines
                .begin(u64::try_from(self.now.0).unwrap_or(0).max(last))?;
        }
        let mut bytes = Vec::new();
        for key in &self.queue {
            let RememberedKey { key, ids, at } = key.clone();
            lines::seal(&mut bytes, &Line { key, ids, at })?;
        }
        self.lines.append(&bytes)?;
        self.queue.clear();
        // A file is over when the one after it began before the window.
        while let Some(second) = self.lines.parts().get(1).map(|part| part.number) {
            let began = Timestamp(i64::try_from(second).unwrap_or(i64::MAX));
            if self.now.since(began) <= window {
                break;
            }
            self.lines.drop_oldest();
        }
        Ok(())
    }
}

/// What is remembered: from the log, and from the adds in the journal, without those that are too old.
pub(super) fn merge(
    mut logged: Vec<RememberedKey>,
    journal: Vec<RememberedKey>,
    window: Duration,
) -> (Vec<RememberedKey>, Vec<RememberedKey>) {
    let known: HashSet<String> = logged
        .iter()
        .map(|key| key.key.clone() + &key.at.to_string())
        .collect();
    let is_new = |key: &RememberedKey| !known.contains(&(key.key.clone() + &key.at.to_string()));
    let unlogged: Vec<RememberedKey> = journal.into_iter().filter(is_new).collect();
    logged.extend(unlogged.iter().cloned());
    // The last one written, not the latest: the clock may have been set back.
    let now = logged.last().map(|key| key.at);
    logged.sort_by_key(|key| key.at);
    if let Some(now) = now {
        logged.retain(|key| now.since(key.at) <= window);
    }
    (logged, unlogged)
}
