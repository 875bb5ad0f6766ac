//! The scrub: what lies on disk and is not looked at for days is read again, bit by bit, against its checksums, so that
//! damage is heard of while the peer or a backup may still have the mail.
//!
//! It reads past the system's cache, where that can be done: the copy in memory proves nothing. It only reads and reports;
//! what is damaged stays where it is, for a start or a repair to set aside. Its pace is its caller's.

use crate::archive::Shelf;
use crate::id::MessageId;
use crate::store::archive::{ArchiveDir, PairError};
use crate::store::care::finding::{Ailment, Finding};
use crate::store::fs::{Fs, Mode};
use crate::store::journal::index::Index;
use crate::store::journal::scan::{Bad, Item, Scan, ScanError};
use crate::store::layout::{self, Seq};
use crate::store::mutex::locked;
use std::ops::Bound;
use std::path::Path;
use std::sync::Mutex;

/// The most findings that are kept of one pass.
const MAX_FINDINGS: usize = 1000;
/// Names of messages told in one finding.
const MAX_NAMES: usize = 10;

/// How far it has come.
#[derive(Debug, Default)]
pub(in crate::store) struct Scrub {
    /// The segment under way.
    scan: Option<(Seq, Scan)>,
    /// The last one of this pass.
    done: Option<Seq>,
    /// The pairs on the shelves that are still to be read in this pass; `None`: the journal comes first.
    pairs: Option<Vec<(Shelf, MessageId)>>,
}

/// What this pass has found, and what the one before had. Whoever looks at them does not wait for a step, which reads.
#[derive(Debug, Default)]
pub(in crate::store) struct Findings {
    found: Vec<Finding>,
    before: Vec<Finding>,
}

/// What one step of the scrub did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged, and was not known to be.
    pub news: Vec<Finding>,
    /// Whether everything has been read once more.
    pub pass_over: bool,
}

impl Findings {
    /// What this pass found, and what the last whole pass found.
    pub(in crate::store) fn all(&self) -> Vec<Finding> {
        let known = self.before.iter().filter(|finding| !self.found.contains(finding));
        self.found.iter().chain(known).cloned().collect()
    }
}

/// What the scrub reads, and where it reports.
pub(in crate::store) struct Scope<'a> {
    pub(in crate::store) fs: &'a dyn Fs,
    pub(in crate::store) spool: &'a Path,
    pub(in crate::store) journal: &'a Path,
    pub(in crate::store) index: &'a Mutex<Index>,
    pub(in crate::store) findings: &'a Mutex<Findings>,
    /// The segment that is being written.
    pub(in crate::store) head: &'a dyn Fn() -> Option<Seq>,
}

impl Scrub {
    /// Reads the next `bytes` of what is on disk, and a frame or a pair more at most: first the journal, then the shelves. The segment that is being written is not looked
    /// at; while the spool is loading, nothing is.
    pub(in crate::store) fn step(&mut self, scope: &Scope<'_>, bytes: u64) -> Scrubbed {
        let mut step = Scrubbed::default();
        while step.bytes < bytes && !step.pass_over {
            let Some((seq, mut scan)) = self.scan.take() else {
                if let Some(pairs) = &mut self.pairs {
                    match pairs.pop() {
                        Some((shelf, id)) => scope.scrub_pair(shelf, id, &mut step),
                        None => {
                            (self.done, self.pairs) = (None, None);
                            let mut findings = locked(scope.findings);
                            findings.before = std::mem::take(&mut findings.found);
                            step.pass_over = true;
                        }
                    }
                } else {
                    match scope.next_cold(self.done) {
                        Some(seq) => {
                            self.done = Some(seq);
                            self.scan = scope.begin(seq, &mut step);
                        }
                        None => self.pairs = Some(scope.pairs(&mut step)),
                    }
                }
                continue;
            };
            let before = scan.end();
            let item = scan.next();
            step.bytes += scan.end().saturating_sub(before);
            match item {
                Ok(Some(Item::Frame { .. })) => self.scan = Some((seq, scan)),
                Ok(Some(Item::Damage(bad))) => {
                    self.scan = Some((seq, scan));
                    let end = bad.offset + bad.length;
                    scope.note(seq, bad, end, &mut step);
                }
                // Behind the end of a segment that is over there is nothing to be torn.
                Ok(Some(Item::Tail(bad))) => scope.note(seq, bad, u64::MAX, &mut step),
                // The start has given a header to those that were never written.
                Ok(None) => {
                    if let Some(bad) = scan.nothing_left() {
                        scope.note(seq, bad, u64::MAX, &mut step);
                    }
                }
                Err(error) => scope.unreadable(seq, before, &error, &mut step),
            }
        }
        step
    }
}

impl Scope<'_> {
    /// The next segment that nothing is written to any more.
    fn next_cold(&self, after: Option<Seq>) -> Option<Seq> {
        let head = (self.head)();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = locked(self.index).next_segment(after)?;
        (Some(next) != head).then_some(next)
    }

    fn begin(&self, seq: Seq, step: &mut Scrubbed) -> Option<(Seq, Scan)> {
        let opened = self
            .fs
            .open(&layout::segment_path(self.journal, seq), Mode::Read)
            .and_then(|file| {
                file.forget_cached();
                Scan::new(file, seq, true)
            });
        match opened {
            Ok(scan) => Some((seq, scan)),
            Err(error) => {
                self.unreadable(seq, 0, &ScanError::Io(error), step);
                None
            }
        }
    }

    fn unreadable(&self, seq: Seq, at: u64, error: &ScanError, step: &mut Scrubbed) {
        let reason = match error {
            ScanError::Io(error) => format!("cannot be read from {at} on: {error}"),
            ScanError::Newer(what) => format!("{what} at {at}"),
        };
        self.found(seq, reason, step);
    }

    /// Tells of damage with the names of the messages up to `end` that are hit by it.
    fn note(&self, seq: Seq, bad: Bad, end: u64, step: &mut Scrubbed) {
        let Bad {
            offset,
            length,
            reason,
            ..
        } = bad;
        let range = offset..end;
        let hit = locked(self.index)
            .iter()
            .filter(|(_, entry)| entry.add.seq == seq && range.contains(&u64::from(entry.add.offset)))
            .map(|(id, _)| id.to_string())
            .collect::<Vec<_>>();
        let whose = match hit.as_slice() {
            [] => "no message's text or envelope".to_owned(),
            few if few.len() <= MAX_NAMES => few.join(", "),
            many => format!("{} messages", many.len()),
        };
        let what = format!("{length} bytes at {offset}: {reason}; {whose}");
        self.found(seq, what, step);
    }

    fn found(&self, seq: Seq, what: String, step: &mut Scrubbed) {
        // It was given back meanwhile: nobody needs it.
        if !locked(self.index).is_on_disk(seq) {
            return;
        }
        let file = layout::segment_file(seq);
        self.report(file, None, true, what, step);
    }

    /// What lies on the shelves.
    fn pairs(&self, step: &mut Scrubbed) -> Vec<(Shelf, MessageId)> {
        let mut all = Vec::new();
        for shelf in Shelf::ALL {
            match ArchiveDir::new(self.fs, self.spool, shelf).ids() {
                Ok(ids) => all.extend(ids.into_iter().map(|id| (shelf, id))),
                Err(error) => self.report(shelf.name().to_owned(), None, false, error.to_string(), step),
            }
        }
        all
    }

    /// Reads one pair against its checksum. One that a person has edited has none, and only has to make sense.
    fn scrub_pair(&self, shelf: Shelf, id: MessageId, step: &mut Scrubbed) {
        let text = layout::archived_file(shelf.name(), id, layout::TEXT);
        if let Ok(file) = self.fs.open(&self.spool.join(&text), Mode::Read) {
            file.forget_cached();
        }
        // A slip alone takes a read as well.
        step.bytes += 1;
        let pair = ArchiveDir::new(self.fs, self.spool, shelf).read(id);
        match pair.map(|pair| pair.map_err(PairError::reason)) {
            Some(Ok((_, body))) => step.bytes += body.len() as u64,
            Some(Err(reason)) => self.report(text, Some(id), false, reason, step),
            // It was recovered or purged meanwhile.
            None => {}
        }
    }

    fn report(&self, file: String, id: Option<MessageId>, mendable: bool, what: String, step: &mut Scrubbed) {
        let finding = Finding {
            ailment: Ailment::Damaged,
            file,
            id,
            what,
            mendable,
        };
        let mut findings = locked(self.findings);
        if !findings.before.contains(&finding) && !findings.found.contains(&finding) {
            step.news.push(finding.clone());
        }
        if findings.found.len() < MAX_FINDINGS && !findings.found.contains(&finding) {
            findings.found.push(finding);
        }
    }
}
