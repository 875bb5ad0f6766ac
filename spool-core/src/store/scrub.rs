//! The scrub: what lies on disk and is not looked at for days is read again, bit by bit, against its checksums, so that
//! damage is heard of while the peer or a backup may still have the mail.
//!
//! It reads past the system's cache, where that can be done: the copy in memory proves nothing. It only reads and reports;
//! what is damaged stays where it is, for a start or a repair to set aside. Its pace is its caller's.

use super::fs::Mode;
use super::scan::{Bad, Item, Scan, ScanError};
use super::segment::{self, Seq};
use super::shelf::{Shelf, TEXT};
use super::{Ailment, Finding, Store, StoreError, dir, locked};
use crate::id::MessageId;
use std::ops::Bound;

/// The most findings that are kept of one pass.
const MAX_FINDINGS: usize = 1000;
/// Names of messages told in one finding.
const MAX_NAMES: usize = 10;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// The segment under way.
    scan: Option<(Seq, Scan)>,
    /// The last one of this pass.
    done: Option<Seq>,
    /// The pairs on the shelves that are still to be read in this pass; `None`: the journal comes first.
    pairs: Option<Vec<(Shelf, MessageId)>>,
}

/// What this pass has found, and what the one before had. Whoever looks at them does not wait for a step, which reads.
#[derive(Debug, Default)]
pub(super) struct Findings {
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

impl Store {
    /// Reads the next `bytes` of what is on disk, and a frame or a pair more at most: first the journal, then the shelves. The segment that is being written is not looked
    /// at; while the spool is loading, nothing is.
    pub fn scrub(&self, bytes: u64) -> Scrubbed {
        let mut step = Scrubbed::default();
        if self.loading().is_some() {
            return step;
        }
        let mut scrub = locked(&self.scrub);
        while step.bytes < bytes && !step.pass_over {
            let Some((seq, mut scan)) = scrub.scan.take() else {
                if let Some(pairs) = &mut scrub.pairs {
                    match pairs.pop() {
                        Some((shelf, id)) => self.scrub_pair(shelf, id, &mut step),
                        None => {
                            (scrub.done, scrub.pairs) = (None, None);
                            let mut findings = locked(&self.findings);
                            findings.before = std::mem::take(&mut findings.found);
                            step.pass_over = true;
                        }
                    }
                } else {
                    match self.next_cold(scrub.done) {
                        Some(seq) => self.begin_scrub(&mut scrub, seq, &mut step),
                        None => scrub.pairs = Some(self.pairs(&mut step)),
                    }
                }
                continue;
            };
            let before = scan.end();
            let item = scan.next();
            step.bytes += scan.end().saturating_sub(before);
            match item {
                Ok(Some(Item::Frame { .. })) => scrub.scan = Some((seq, scan)),
                Ok(Some(Item::Damage(bad))) => {
                    scrub.scan = Some((seq, scan));
                    let end = bad.offset + bad.length;
                    self.note(seq, bad, end, &mut step);
                }
                // Behind the end of a segment that is over there is nothing to be torn.
                Ok(Some(Item::Tail(bad))) => self.note(seq, bad, u64::MAX, &mut step),
                // The start has given a header to those that were never written.
                Ok(None) => {
                    if let Some(bad) = scan.nothing_left() {
                        self.note(seq, bad, u64::MAX, &mut step);
                    }
                }
                Err(error) => self.unreadable(seq, before, &error, &mut step),
            }
        }
        step
    }

    /// What the last whole pass of the scrub found damaged, and the one under way: at most a thousand places each.
    pub fn scrub_findings(&self) -> Vec<Finding> {
        let findings = locked(&self.findings);
        let known = findings
            .before
            .iter()
            .filter(|finding| !findings.found.contains(finding));
        findings.found.iter().chain(known).cloned().collect()
    }

    /// The next segment that nothing is written to any more.
    fn next_cold(&self, after: Option<Seq>) -> Option<Seq> {
        let head = locked(&self.writer).head();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = locked(&self.index).next_segment(after)?;
        (Some(next) != head).then_some(next)
    }

    fn begin_scrub(&self, scrub: &mut Scrub, seq: Seq, step: &mut Scrubbed) {
        scrub.done = Some(seq);
        let opened = self
            .fs
            .open(&segment::path(&self.journal, seq), Mode::Read)
            .and_then(|file| {
                file.forget_cached();
                Scan::new(file, seq, true)
            });
        match opened {
            Ok(scan) => scrub.scan = Some((seq, scan)),
            Err(error) => self.unreadable(seq, 0, &ScanError::Io(error), step),
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
        let hit = locked(&self.index)
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
        if !locked(&self.index).is_on_disk(seq) {
            return;
        }
        let file = format!("{}/{}", dir::JOURNAL, segment::name(seq));
        self.tell(file, None, true, what, step);
    }

    /// What lies on the shelves.
    fn pairs(&self, step: &mut Scrubbed) -> Vec<(Shelf, MessageId)> {
        let mut all = Vec::new();
        for shelf in Shelf::ALL {
            match self.shelved_ids(shelf) {
                Ok(ids) => all.extend(ids.into_iter().map(|id| (shelf, id))),
                Err(error) => self.tell(shelf.name().to_owned(), None, false, error.to_string(), step),
            }
        }
        all
    }

    /// Reads one pair against its checksum. One that a person has edited has none, and only has to make sense.
    fn scrub_pair(&self, shelf: Shelf, id: MessageId, step: &mut Scrubbed) {
        let text = format!("{}/{id}.{TEXT}", shelf.name());
        if let Ok(file) = self.fs.open(&self.dir().join(&text), Mode::Read) {
            file.forget_cached();
        }
        // A slip alone takes a read as well.
        step.bytes += 1;
        match self.shelved(shelf, id) {
            Ok((_, body)) => step.bytes += body.len() as u64,
            Err(StoreError::Damaged { reason, .. }) => self.tell(text, Some(id), false, reason, step),
            // It was recovered or purged meanwhile; or the whole spool has failed.
            Err(_) => {}
        }
    }

    fn tell(&self, file: String, id: Option<MessageId>, mendable: bool, what: String, step: &mut Scrubbed) {
        let finding = Finding {
            ailment: Ailment::Damaged,
            file,
            id,
            what,
            mendable,
        };
        let mut findings = locked(&self.findings);
        if !findings.before.contains(&finding) && !findings.found.contains(&finding) {
            step.news.push(finding.clone());
        }
        if findings.found.len() < MAX_FINDINGS && !findings.found.contains(&finding) {
            findings.found.push(finding);
        }
    }
}
