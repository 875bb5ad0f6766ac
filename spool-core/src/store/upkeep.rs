//! Upkeep of an open store between commits: the spare segment, compaction, the scrub, checks of the open files.

use super::care::compaction::Source;
use super::care::finding::Finding;
use super::care::scrub::{Scope, Scrubbed};
use super::change::Change;
use super::error::{Failure, StoreError};
use super::fs::{Mode, ops};
use super::handle::Store;
use super::journal::write_error::WriteError;
use super::journal::writer::Writer;
use super::layout::{self, Seq};
use super::logs::destinations;
use super::mutex::locked;
use crate::destination::LearnedDestination;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

/// With less free space than this many segments, the space of deleted segments is freed at once.
const AMPLE_SEGMENTS: u64 = 8;
/// The most unlinked segments that are kept open. Freeing the space of 64 MiB takes many times as long as a sync.
const MAX_KEPT: usize = 64;

impl Store {
    /// Prepares the next segment and deletes segments that are no longer needed. Returns at once when there is nothing
    /// to do. Call it after the results of a commit were passed on: only the next commit waits for it.
    pub fn maintain(&self) {
        self.unattended.store(0, Relaxed);
        if let Some(Failure::FilesTaken(_) | Failure::Closed) = self.failures.get() {
            // Its paths may lead to another spool by now.
            return;
        }
        // What cannot be written stays in memory.
        let _ = (self.events.flush(), self.keys.flush());
        let mut writer = locked(&self.writer);
        if self.failures.get().is_some() {
            return;
        }
        let done = self.maintain_with(&mut writer);
        self.note_work(&mut writer);
        if let Err(failure) = done {
            self.failures.fail(failure);
        }
    }

    fn maintain_with(&self, writer: &mut Writer) -> Result<(), Failure> {
        // On a full disk, deleting segments makes room for the spare.
        while self.loading().is_none() {
            if !locked(&self.index).changed || !self.logs_are_durable() {
                break;
            }
            let free = locked(&self.index).take_free(writer.head());
            let unlink = |seq: &Seq| {
                let path = layout::segment_path(&self.journal, *seq);
                // While a handle is open, unlinking is fast: freeing the blocks takes longer than a commit may wait.
                let mut kept = locked(&self.pending_deletion);
                if kept.len() < MAX_KEPT {
                    kept.extend(self.fs.open(&path, Mode::Read).ok());
                }
                drop(kept);
                ops::remove(&*self.fs, &path).is_ok()
            };
            let gone: Vec<Seq> = free.into_iter().filter(unlink).collect();
            if gone.is_empty() {
                break;
            }
            // A segment may record the ends of messages in an older one, so the older one must be gone durably first.
            // If the sync fails in any way, nothing more may be deleted.
            writer.new_segments.sync_dir()?;
            let mut index = locked(&self.index);
            for seq in gone {
                index.drop_segment(seq);
                self.reader.forget(seq);
            }
            drop(index);
            if self.available() < AMPLE_SEGMENTS * self.options.segment_size {
                self.give_back();
            }
        }
        if let Some(text) = self.keys.failed() {
            return Err(Failure::Disk(text));
        }
        match writer.new_segments.spare() {
            Err(WriteError::Failed(failure)) => Err(failure),
            Ok(_) | Err(WriteError::Refused(_)) => Ok(()),
        }
    }

    /// Reads the free space, and tries again to prepare the next segment if that failed. Call it about twice per second on a
    /// thread that nothing waits for.
    pub fn look_for_room(&self) {
        let available = self.available();
        let Ok(mut writer) = self.writer.try_lock() else {
            // A commit that is running finds out by itself.
            return;
        };
        let refused = self.failures.get().is_none() && writer.new_segments.refusal().is_some();
        // Where space cannot be reserved, a try writes a whole segment.
        if !refused || available < self.options.segment_size {
            return;
        }
        let made = writer.new_segments.spare();
        self.note_work(&mut writer);
        if let Err(WriteError::Failed(failure)) = made {
            self.failures.fail(failure);
        }
    }

    /// The free space, read a moment ago at the earliest.
    fn available(&self) -> u64 {
        if let Some(available) = locked(&self.space).recent() {
            return available;
        }
        let available = self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
        locked(&self.space).read(available);
        available
    }

    /// Notes what the writer has done since the last call, and whether the next segment is ready.
    pub(super) fn note_work(&self, writer: &mut Writer) {
        let tally = writer.take_tally();
        let mut stats = locked(&self.stats);
        stats.syncs += tally.syncs;
        stats.bytes += tally.bytes;
        drop(stats);
        locked(&self.space).refusal = writer.new_segments.refusal().cloned();
    }

    /// Frees the space of deleted segments. It may take a while; call it about once per second on a thread
    /// that nothing waits for. When space is short, [`Store::maintain`] does it.
    pub fn give_back(&self) {
        let kept = std::mem::take(&mut *locked(&self.pending_deletion));
        // Closed without the lock, because closing is slow.
        drop(kept);
    }

    /// Events and keys in a segment must be in the logs before it is deleted. Events may be lost on a full disk, keys
    /// may not.
    fn logs_are_durable(&self) -> bool {
        let _ = self.events.sync();
        self.keys.sync().is_ok()
    }

    /// Makes one step of compaction if the journal holds too much garbage. Returns whether there is more to do. Call it
    /// between commits, and [`Store::maintain`] after it.
    pub fn compact(&self) -> bool {
        if self.failures.get().is_some() || self.loading().is_some() {
            return false;
        }
        let mut writer = locked(&self.writer);
        let mut compaction = locked(&self.compaction);
        let slack = u64::from(self.options.slack_segments) * self.options.segment_size;
        let (index, reader) = (&self.index, &self.reader);
        let source = Source { index, reader };
        let head = writer.head();
        // On a full disk, the segment is compacted from its start when there is room.
        let commit =
            |changes: &mut [Change]| self.commit_with(&mut writer, changes).iter().all(Result::is_ok);
        let Some(moved) = compaction.step(&source, head, slack, commit) else {
            return false;
        };
        locked(&self.stats).moved += moved as u64;
        true
    }

    /// Reads the next `bytes` of the files, and at most one frame or pair more: the journal first, then the archives.
    /// It skips the segment that is being written, and does nothing while the spool is loading.
    pub fn scrub(&self, bytes: u64) -> Scrubbed {
        if self.loading().is_some() {
            return Scrubbed::default();
        }
        let scope = Scope {
            fs: &*self.fs,
            spool: self.dir(),
            journal: &self.journal,
            index: &self.index,
            findings: &self.findings,
            head: &|| locked(&self.writer).head(),
            step: Scrubbed::default(),
        };
        locked(&self.scrub).step(scope, bytes)
    }

    /// Damage found by the last complete pass of the scrub and by the current one: at most a thousand places each.
    pub fn scrub_findings(&self) -> Vec<Finding> {
        locked(&self.findings).all()
    }

    /// Checks that the lock, the directories and every segment are still the files that were opened, and that they can
    /// be written. If not, the store accepts no more changes. It makes a few system calls for each segment; call it on
    /// a thread that nothing waits for.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with what is missing.
    pub fn check_files(&self) -> Result<(), StoreError> {
        self.failures.check()?;
        let lost = self.open_files.lost(&*self.fs);
        let lost = lost
            .or_else(|| self.lost_segment())
            .or_else(|| self.cut_segment());
        lost.map_or(Ok(()), |text| {
            Err(self.failures.fail(Failure::FilesTaken(text)).into())
        })
    }

    /// The first segment that was deleted or replaced. A finding is checked again under the writer's lock, since the
    /// writer and [`Store::maintain`] change files meanwhile.
    fn lost_segment(&self) -> Option<String> {
        let check = |written: &[_]| self.open_files.lost_segment(&*self.fs, &self.index, written);
        // Not under the writer's lock: a commit would wait for the disk.
        let written = locked(&self.writer).open_files();
        check(&written)?;
        let writer = locked(&self.writer);
        check(&writer.open_files())
    }

    /// Whether the segment that is being written was cut short.
    fn cut_segment(&self) -> Option<String> {
        match locked(&self.writer).check_head() {
            Err(Failure::FilesTaken(text)) => Some(text),
            Err(_) | Ok(()) => None,
        }
    }

    /// Replaces what is remembered of destinations by `learned`, the most important first. Durable when it returns. Not to be
    /// called concurrently.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; the file may then still hold the old content. The journal is not affected.
    pub fn keep_destinations(&self, learned: &[LearnedDestination]) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::Failed(format!("{}: {error}", layout::DESTINATIONS));
        destinations::write(&*self.fs, self.dir(), learned).map_err(failed)
    }
}
