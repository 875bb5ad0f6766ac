//! The checkup of a spool that nobody holds: every segment, every live message with its body, and both shelves.
//!
//! It holds the spool's lock while it looks, and closes the directory to others. Without `repair` it changes nothing else. With
//! it, it does what a start would do, and moves files that belong to nothing into `corrupt/`; it never deletes a byte and never
//! gives a message up.

use super::dir::{self, CORRUPT, JOURNAL};
use super::fs::{Fs, RealFs};
use super::reader::{Reader, Unread};
use super::replay::{self, Replay, io_error};
use super::segment::{self, SPARE};
use super::shelf::{self, Flaw, Shelf};
use super::{OpenError, recovery};
use crate::id::MessageId;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ailment {
    /// Bytes that are not what was written.
    Damaged,
    /// The end of a write that was never answered; the next start cuts it off.
    Torn,
    /// A file that belongs to nothing.
    Orphaned,
    /// A message that is on the spool and on a shelf.
    Duplicated,
    /// A pair on a shelf that cannot be recovered as it is.
    Unreadable,
    /// Whole, but not what belongs there: a pair that its checksum or its name does not fit.
    Mismatched,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub ailment: Ailment,
    /// Where, relative to the spool.
    pub file: String,
    /// In one line, what.
    pub what: String,
    /// Whether a repair mends it: not what only a person can.
    pub mendable: bool,
}

/// What a checkup found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkup {
    /// Live messages that are whole.
    pub whole: u64,
    /// Pairs on the shelves that are whole.
    pub shelved: u64,
    /// Everything else, before a repair.
    pub findings: Vec<Finding>,
}

/// Checks the spool in `dir`; with `repair` mends what can be mended, then. `progress` is told of each message.
///
/// # Errors
/// [`OpenError`]: the spool is in use, is none, or cannot be read or written.
pub fn checkup(dir: &Path, repair: bool, progress: &mut dyn FnMut()) -> Result<Checkup, OpenError> {
    checkup_on(Arc::new(RealFs), dir, repair, progress)
}

/// [`checkup`] on another file system.
///
/// # Errors
/// As [`checkup`].
pub fn checkup_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    repair: bool,
    progress: &mut dyn FnMut(),
) -> Result<Checkup, OpenError> {
    // A directory that is no spool yet must not become one by a look at it.
    dir::check(&*fs, dir)?;
    let lock = dir::claim(&*fs, dir)?;
    let mut checkup = Checkup::default();
    let journal = dir.join(JOURNAL);
    let seqs = replay::segments(&*fs, &journal)?;
    let replay = replay::replay(&*fs, &journal, &seqs, u64::MAX, &mut |_| true)?;
    checkup.journal(&*fs, &journal, &replay)?;
    checkup.messages(&fs, &journal, &replay, progress);
    let mut orphans = Vec::new();
    for shelf in Shelf::ALL {
        orphans.extend(checkup.shelf(&*fs, dir, shelf, &replay)?);
    }
    if repair {
        mend(&*fs, dir, &replay, &orphans)?;
    }
    drop(lock);
    Ok(checkup)
}

impl Checkup {
    fn note(&mut self, ailment: Ailment, file: String, what: String, mendable: bool) {
        self.findings.push(Finding {
            ailment,
            file,
            what,
            mendable,
        });
    }

    fn journal(&mut self, fs: &dyn Fs, journal: &Path, replay: &Replay) -> Result<(), OpenError> {
        for broken in &replay.broken {
            let file = format!("{JOURNAL}/{}", segment::name(broken.seq));
            let what = format!("{} bytes at {}: {}", broken.length, broken.offset, broken.reason);
            self.note(Ailment::Damaged, file, what, !broken.lost);
        }
        for rest in replay.rests.iter().filter(|rest| rest.torn > 0) {
            let file = format!("{JOURNAL}/{}", segment::name(rest.seq));
            let what = format!("{} bytes at {} were never answered for", rest.torn, rest.end);
            self.note(Ailment::Torn, file, what, true);
        }
        let names = fs.list(journal).map_err(io_error("list", journal))?;
        for name in names {
            if name != SPARE && segment::parse_name(&name).is_none() {
                let what = "is no segment".to_owned();
                self.note(Ailment::Orphaned, format!("{JOURNAL}/{name}"), what, false);
            }
        }
        Ok(())
    }

    /// Reads every message and every body against their checksums.
    fn messages(&mut self, fs: &Arc<dyn Fs>, journal: &Path, replay: &Replay, progress: &mut dyn FnMut()) {
        let reader = Reader::new(Arc::clone(fs), journal.to_owned());
        let mut all: Vec<_> = replay.index.iter().collect();
        all.sort_unstable_by_key(|(_, entry)| (entry.add, entry.section));
        let mut last_body = None;
        for (id, entry) in all {
            // Messages of one add share their body: it is read once.
            let body = || match last_body == Some(entry.add) {
                true => Ok(()),
                false => reader.body(entry.add).map(drop),
            };
            match reader.message(id, entry).and_then(|_| body()) {
                Ok(()) => {
                    self.whole += 1;
                    last_body = Some(entry.add);
                }
                Err(unread) => {
                    let file = format!("{JOURNAL}/{}", segment::name(entry.add.seq));
                    let reason = match unread {
                        Unread::Gone => "its segment is missing".to_owned(),
                        Unread::Damaged(reason) | Unread::NotNow(reason) => reason,
                    };
                    // What is left of it stays where it is.
                    self.note(Ailment::Damaged, file, format!("message {id}: {reason}"), false);
                }
            }
            progress();
        }
    }

    /// Gives the files that belong to nothing, relative to the spool.
    fn shelf(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        shelf: Shelf,
        replay: &Replay,
    ) -> Result<Vec<String>, OpenError> {
        let path = dir.join(shelf.name());
        let names = match fs.list(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(io_error("list", &path))?,
        };
        let mut orphans = Vec::new();
        let of = |kind: &'static str| -> BTreeSet<MessageId> {
            let ids = names.iter().filter_map(|name| shelf::id_of(name, kind));
            ids.collect()
        };
        let (texts, slips, drafts) = (of(shelf::TEXT), of(shelf::SLIP), of(shelf::SLIP_DRAFT));
        let file = |id: MessageId, kind: &str| format!("{}/{id}.{kind}", shelf.name());
        for id in texts.union(&slips) {
            if replay.index.get(*id).is_some() {
                let what = "is on the spool as well, which counts".to_owned();
                self.note(Ailment::Duplicated, file(*id, shelf::SLIP), what, true);
            } else if drafts.contains(id) && !slips.contains(id) {
                // Its draft is found below.
            } else if !slips.contains(id) {
                let what = "a text without its .json".to_owned();
                orphans.push(file(*id, shelf::TEXT));
                self.note(Ailment::Orphaned, file(*id, shelf::TEXT), what, true);
            } else {
                match shelf::look_at(fs, dir, shelf, *id) {
                    Ok(_) => self.shelved += 1,
                    Err(Flaw::Unreadable(reason)) => {
                        self.note(Ailment::Unreadable, file(*id, shelf::SLIP), reason, false);
                    }
                    Err(Flaw::Mismatched(reason)) => {
                        self.note(Ailment::Mismatched, file(*id, shelf::SLIP), reason, false);
                    }
                }
            }
        }
        for name in names {
            if shelf::is_draft(&name) {
                let what = "half written".to_owned();
                self.note(Ailment::Orphaned, format!("{}/{name}", shelf.name()), what, true);
            } else if shelf::id_of(&name, shelf::TEXT)
                .or_else(|| shelf::id_of(&name, shelf::SLIP))
                .is_none()
            {
                let what = "its name is no message's".to_owned();
                self.note(Ailment::Orphaned, format!("{}/{name}", shelf.name()), what, false);
            }
        }
        Ok(orphans)
    }
}

/// As a start does: sets damage aside, cuts torn ends and tidies the shelves. What is left are texts without a slip.
fn mend(fs: &dyn Fs, dir: &Path, replay: &Replay, orphans: &[String]) -> Result<(), OpenError> {
    recovery::repair(fs, dir, replay)?;
    let live = |id| replay.index.get(id).is_some();
    shelf::tidy(fs, dir, &live).map_err(io_error("tidy the shelves of", dir))?;
    for orphan in orphans {
        let (from, to) = (dir.join(orphan), dir.join(CORRUPT).join(orphan.replace('/', "-")));
        fs.rename(&from, &to).map_err(io_error("move", &from))?;
    }
    if !orphans.is_empty() {
        let mut dirs = vec![dir.join(CORRUPT)];
        dirs.extend(Shelf::ALL.map(|shelf| dir.join(shelf.name())));
        for dir in dirs {
            match fs.sync_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("sync", &dir)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}
