//! The open store and its fields. Its operations are in the files `open`, `commit`, `load`, `upkeep` and `archived`.

use super::care::compaction::Compaction;
use super::care::open_files::OpenFiles;
use super::care::scrub::{Findings, Scrub};
use super::error::Failure;
use super::failure::Failures;
use super::fs::{Fs, FsFile};
use super::journal::index::Index;
use super::journal::reader::Reader;
use super::journal::writer::Writer;
use super::loading::Loading;
use super::logs::events::EventLog;
use super::logs::keys::KeyLog;
use super::mutex::locked;
use super::space::Space;
use super::types::{StoreOptions, StoreStats};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// An open spool directory. One writer at a time inside [`Store::commit`]; reads run beside it.
///
/// Dropping it releases the lock on the directory. Nothing needs to be closed: every change that was answered is on
/// disk.
#[derive(Debug)]
pub struct Store {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) journal: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) writer: Mutex<Writer>,
    pub(super) index: Mutex<Index>,
    pub(super) reader: Reader,
    pub(super) events: EventLog,
    pub(super) keys: KeyLog,
    pub(super) compaction: Mutex<Compaction>,
    pub(super) loading: Loading,
    /// Handles on segments that are unlinked, so that their space is freed when a thread has time for it.
    pub(super) pending_deletion: Mutex<Vec<Arc<dyn FsFile>>>,
    pub(super) scrub: Mutex<Scrub>,
    pub(super) findings: Mutex<Findings>,
    pub(super) failures: Failures,
    /// The counters that have no other place.
    pub(super) stats: Mutex<StoreStats>,
    /// Commits since [`Store::maintain`] ran last.
    pub(super) unattended: AtomicU64,
    pub(super) space: Mutex<Space>,
    pub(super) open_files: OpenFiles,
}

impl Store {
    /// The spool's directory.
    pub(super) fn dir(&self) -> &Path {
        self.journal.parent().unwrap_or(&self.journal)
    }

    /// Calls `report` when the store fails, at once if it has failed already. Only the first call counts.
    pub fn on_failure(&self, report: impl Fn(&Failure) + Send + Sync + 'static) {
        self.failures.on_failure(Box::new(report));
    }

    /// Accepts no more changes: the owner panicked and does not know what was written.
    pub fn abandon(&self, why: &str) {
        self.failures.fail(Failure::Abandoned(why.to_owned()));
    }

    /// Accepts no more changes, closes every file and releases the lock on the directory. For an owner whose handles on
    /// the store outlive its work. Every change that was answered is on disk.
    pub fn close(&self) {
        self.failures.close();
        locked(&self.writer).close();
        self.reader.close();
        self.events.close();
        self.keys.close();
        self.give_back();
        *locked(&self.index) = Index::default();
        // The lock is released last.
        self.open_files.close();
    }

    /// Counters since the store was opened.
    pub fn stats(&self) -> StoreStats {
        let index = locked(&self.index);
        StoreStats {
            messages: index.len() as u64,
            segments: index.segments() as u64,
            frames_read: self.reader.frames.load(Relaxed),
            ..*locked(&self.stats)
        }
    }
}
