//! Reading a spool directory without its lock, with or without a service running on it. Nothing is written.
//!
//! A running service appends to segments and deletes them meanwhile. A message that is live from the start to the end
//! of the read is always seen. Memory holds the index, never a body.

use super::dir;
use super::error::OpenError;
use super::fs::{Fs, RealFs};
use super::journal::reader::{Reader, Unread};
use super::journal::replay::{self, Replay};
use super::layout::JOURNAL;
use crate::id::MessageId;
use crate::message::Message;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Attempts to read the journal when a segment disappears meanwhile. A service deletes at most about one per second.
const TRIES: usize = 20;

/// The number of messages in the queue of the spool `dir`, frozen ones included. Needs no lock, and works while a
/// service runs.
///
/// # Errors
/// [`OpenError`] when `dir` is not a spool or cannot be read.
pub fn count_from_disk(dir: &Path) -> Result<u64, OpenError> {
    count_from_disk_on(Arc::new(RealFs), dir)
}

/// [`count_from_disk`] on another file system.
///
/// # Errors
/// As [`count_from_disk`].
pub fn count_from_disk_on(fs: Arc<dyn Fs>, dir: &Path) -> Result<u64, OpenError> {
    Ok(look(&*fs, dir)?.index.len() as u64)
}

/// Calls `each` with every message in the queue of the spool `dir`, frozen ones included, in no order. Needs no lock,
/// and works while a service runs.
///
/// # Errors
/// As [`count_from_disk`].
pub fn status_from_disk(dir: &Path, each: &mut dyn FnMut(Message)) -> Result<(), OpenError> {
    mail_from_disk(dir, &mut |message, _| each(message)).map(drop)
}

/// Reads the body of the current message. `None` when it was just moved or deleted; if it was moved, `each` is called
/// with the message again.
pub type ReadBody<'a> = &'a dyn Fn() -> Option<Result<Bytes, String>>;

/// As [`status_from_disk`], with a function that reads the body. Returns the number of damaged places in the journal;
/// messages in them are left out.
///
/// # Errors
/// As [`count_from_disk`].
pub fn mail_from_disk(dir: &Path, each: &mut dyn FnMut(Message, ReadBody<'_>)) -> Result<usize, OpenError> {
    mail_from_disk_on(Arc::new(RealFs), dir, each)
}

pub(super) fn mail_from_disk_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    each: &mut dyn FnMut(Message, ReadBody<'_>),
) -> Result<usize, OpenError> {
    let mut missed: Option<HashSet<MessageId>> = None;
    let mut damaged = 0;
    for _ in 0..TRIES {
        let Replay {
            index,
            damaged: ranges,
            ..
        } = look(&*fs, dir)?;
        damaged = ranges.len();
        let wanted = |id: &MessageId| missed.as_ref().is_none_or(|missed| missed.contains(id));
        let mut all: Vec<_> = index.iter().filter(|(id, _)| wanted(id)).collect();
        drop(index);
        // In the order of their place on disk.
        all.sort_unstable_by_key(|(_, entry)| (entry.kept.add, entry.kept.section));
        let reader = Reader::new(Arc::clone(&fs), dir.join(JOURNAL));
        let mut gone = HashSet::new();
        let mut message = reader.sequential();
        for (id, entry) in all {
            match message(id, entry) {
                Ok(message) => {
                    let vanished = Cell::new(false);
                    let body = || match reader.body(entry.kept.add) {
                        Ok(body) => Some(Ok(body)),
                        Err(Unread::Damaged(reason) | Unread::NotNow(reason)) => Some(Err(reason)),
                        Err(Unread::Gone) => {
                            vanished.set(true);
                            None
                        }
                    };
                    each(message, &body);
                    if vanished.get() {
                        gone.insert(id);
                    }
                }
                // It has ended or was moved meanwhile: the next pass finds out.
                Err(Unread::Gone) => drop(gone.insert(id)),
                Err(Unread::NotNow(reason)) => {
                    return Err(OpenError::io(
                        "read",
                        &dir.join(JOURNAL),
                        io::Error::other(reason),
                    ));
                }
                // The record was whole a moment ago.
                Err(Unread::Damaged(_)) => damaged += 1,
            }
        }
        if gone.is_empty() {
            break;
        }
        missed = Some(gone);
    }
    Ok(damaged)
}

fn look(fs: &dyn Fs, dir: &Path) -> Result<Replay, OpenError> {
    dir::check(fs, dir)?;
    let journal = dir.join(JOURNAL);
    let mut tries = 0;
    loop {
        tries += 1;
        let seqs = replay::segments(fs, &journal)?;
        match replay::look(fs, &journal, &seqs) {
            // The segment that disappeared may have recorded ends of messages that are recorded nowhere else.
            Err(OpenError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            done => return done,
        }
    }
}
