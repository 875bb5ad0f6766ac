//! The scrub reads what is on disk again and checks it against the checksums, so that damage is found while the sender
//! or a backup may still have the message.
//!
//! It bypasses the system's cache where possible. It only reads and reports; damaged bytes stay where they are until a
//! start or a repair. The caller sets the pace.

use crate::archive::Archive;
use crate::id::MessageId;
use crate::store::archive::{ArchiveDir, PairError};
use crate::store::care::finding::{Finding, ProblemKind};
use crate::store::fs::{Fs, Mode};
use crate::store::journal::index::Index;
use crate::store::journal::scan::{Bad, Item, Scan, ScanError};
use crate::store::layout::{self, Seq};
use crate::store::mutex::locked;
use std::ops::Bound;
use std::path::Path;
use std::sync::Mutex;

/// Findings kept of one pass.
const MAX_FINDINGS: usize = 1000;
/// Messages named in one finding.
const MAX_NAMES: usize = 10;

/// The progress of the scrub.
#[derive(Debug, Default)]
pub(in crate::store) struct Scrub {
    /// The segment that is being read.
    scan: Option<(Seq, Scan)>,
    /// The last segment of this pass that was begun.
    done: Option<Seq>,
    /// The archived pairs that are still to be read in this pass; `None` while segments are read.
    pairs: Option<Vec<(Archive, MessageId)>>,
}

/// What this pass found, and what the pass before found. Kept apart from the progress, so that reading the findings
/// does not wait for a step.
#[derive(Debug, Default)]
pub(in crate::store) struct Findings {
    found: Vec<Finding>,
    before: Vec<Finding>,
}

/// The result of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// Damage that was not known before.
    pub new_findings: Vec<Finding>,
    /// Whether the pass is complete.
    pub pass_over: bool,
}

impl Findings {
    /// What this pass found, and what the last whole pass found.
    pub(in crate::store) fn all(&self) -> Vec<Finding> {
        let known = self.before.iter().filter(|finding| !self.found.contains(finding));
        self.found.iter().chain(known).cloned().collect()
    }
}

/// What the scrub reads.
pub(in crate::store) struct Scope<'a> {
    pub(in crate::store) fs: &'a dyn Fs,
    pub(in crate::store) spool: &'a Path,
    pub(in crate::store) journal: &'a Path,
    pub(in crate::store) index: &'a Mutex<Index>,
    pub(in crate::store) findings: &'a Mutex<Findings>,
    /// The segment that is being written.
    pub(in crate::store) head: &'a dyn Fn() -> Option<Seq>,
    /// The result so far.
    pub(in crate::store) step: Scrubbed,
}

impl Scrub {
    /// Reads the next `bytes`, and at most one frame or pair more. The segment that is being written is skipped.
    pub(in crate::store) fn step(&mut self, mut scope: Scope<'_>, bytes: u64) -> Scrubbed {
        while scope.step.bytes < bytes && !scope.step.pass_over {
            let Some((seq, mut scan)) = self.scan.take() else {
                if self.pairs.is_none()
                    && let Some(seq) = scope.next_cold(self.done)
                {
                    self.done = Some(seq);
                    self.scan = scope.begin(seq);
                    continue;
                }
                let pairs = self.pairs.get_or_insert_with(|| scope.pairs());
                if let Some((archive, id)) = pairs.pop() {
                    scope.scrub_pair(archive, id);
                    continue;
                }
                (self.done, self.pairs) = (None, None);
                let mut findings = locked(scope.findings);
                findings.before = std::mem::take(&mut findings.found);
                scope.step.pass_over = true;
                continue;
            };
            let before = scan.end();
            let item = scan.next();
            scope.step.bytes += scan.end().saturating_sub(before);
            match item {
                Ok(Some(Item::Frame { .. })) => self.scan = Some((seq, scan)),
                Ok(Some(Item::Damage(bad))) => {
                    self.scan = Some((seq, scan));
                    let end = bad.offset + bad.length;
                    scope.note(seq, &bad, end);
                }
                // In a complete segment there is no torn end.
                Ok(Some(Item::Tail(bad))) => scope.note(seq, &bad, u64::MAX),
                // A start gives a header to segments that were never written.
                Ok(None) => {
                    if let Some(bad) = scan.nothing_left() {
                        scope.note(seq, &bad, u64::MAX);
                    }
                }
                Err(error) => scope.unreadable(seq, before, &error),
            }
        }
        scope.step
    }
}

impl Scope<'_> {
    /// The next segment that is complete.
    fn next_cold(&self, after: Option<Seq>) -> Option<Seq> {
        let head = (self.head)();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = locked(self.index).next_segment(after)?;
        (Some(next) != head).then_some(next)
    }

    fn begin(&mut self, seq: Seq) -> Option<(Seq, Scan)> {
        let file = self.fs.open(&layout::segment_path(self.journal, seq), Mode::Read);
        let scan = file.and_then(|file| {
            file.forget_cached();
            Scan::new(file, seq, true)
        });
        let unreadable = |error| self.unreadable(seq, 0, &ScanError::Io(error));
        scan.map_err(unreadable).ok().map(|scan| (seq, scan))
    }

    fn unreadable(&mut self, seq: Seq, at: u64, error: &ScanError) {
        let reason = match error {
            ScanError::Io(error) => format!("cannot be read from {at} on: {error}"),
            ScanError::Newer(what) => format!("{what} at {at}"),
        };
        self.found(seq, reason);
    }

    /// Reports damage, with the ids of the messages up to `end` that are affected.
    fn note(&mut self, seq: Seq, bad: &Bad, end: u64) {
        let range = bad.offset..end;
        let hit = locked(self.index)
            .iter()
            .filter(|(_, entry)| {
                entry.kept.add.seq == seq && range.contains(&u64::from(entry.kept.add.offset))
            })
            .map(|(id, _)| id.to_string())
            .collect::<Vec<_>>();
        let whose = match hit.as_slice() {
            [] => "no text or envelope of a message".to_owned(),
            few if few.len() <= MAX_NAMES => few.join(", "),
            many => format!("{} messages", many.len()),
        };
        let what = format!("{} bytes at {}: {}; {whose}", bad.length, bad.offset, bad.reason);
        self.found(seq, what);
    }

    fn found(&mut self, seq: Seq, what: String) {
        // Otherwise it was deleted meanwhile.
        if locked(self.index).is_on_disk(seq) {
            self.report(layout::segment_file(seq), None, true, what);
        }
    }

    /// All archived pairs.
    fn pairs(&mut self) -> Vec<(Archive, MessageId)> {
        let mut all = Vec::new();
        for archive in Archive::ALL {
            match ArchiveDir::new(self.fs, self.spool, archive).ids() {
                Ok(ids) => all.extend(ids.into_iter().map(|id| (archive, id))),
                Err(error) => self.report(archive.name().to_owned(), None, false, error.to_string()),
            }
        }
        all
    }

    /// Reads one pair and checks its checksum. A pair that a person edited has none, and must only be readable.
    fn scrub_pair(&mut self, archive: Archive, id: MessageId) {
        let text = layout::archived_file(archive.name(), id, layout::TEXT);
        if let Ok(file) = self.fs.open(&self.spool.join(&text), Mode::Read) {
            file.forget_cached();
        }
        // Reading the metadata alone counts too.
        self.step.bytes += 1;
        let pair = ArchiveDir::new(self.fs, self.spool, archive).read(id);
        match pair.map(|pair| pair.map_err(PairError::reason)) {
            Some(Ok((_, body))) => self.step.bytes += body.len() as u64,
            Some(Err(reason)) => self.report(text, Some(id), false, reason),
            // It was recovered or purged meanwhile.
            None => {}
        }
    }

    fn report(&mut self, file: String, id: Option<MessageId>, repairable: bool, what: String) {
        let finding = Finding {
            problem: ProblemKind::Damaged,
            file,
            id,
            what,
            repairable,
        };
        let mut findings = locked(self.findings);
        if !findings.before.contains(&finding) && !findings.found.contains(&finding) {
            self.step.new_findings.push(finding.clone());
        }
        if findings.found.len() < MAX_FINDINGS && !findings.found.contains(&finding) {
            findings.found.push(finding);
        }
    }
}
