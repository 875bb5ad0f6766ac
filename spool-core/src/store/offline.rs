//! A look at a spool directory from outside: no lock, nothing written, beside a running spool or without one.
//!
//! A running spool appends and unlinks meanwhile. What was live when the look began and still is when it ends is
//! always seen. Memory holds the index, never a body.

use super::OpenError;
use super::dir::{self, JOURNAL};
use super::fs::{Fs, RealFs};
use super::reader::Reader;
use super::replay::{self, Replay};
use crate::message::Message;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Times to begin anew when a segment vanishes under the scan: at most one does in a second or so.
const TRIES: usize = 20;

/// The number of unsent messages in `dir`, frozen ones included. Needs no lock, and works beside a running spool.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool or cannot be read.
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

/// Every unsent message in `dir`, frozen ones included, in no order. Needs no lock, and works beside a running spool.
///
/// # Errors
/// As [`count_from_disk`].
pub fn status_from_disk(dir: &Path, each: &mut dyn FnMut(Message)) -> Result<(), OpenError> {
    status_from_disk_on(Arc::new(RealFs), dir, each)
}

/// [`status_from_disk`] on another file system.
///
/// # Errors
/// As [`count_from_disk`].
pub fn status_from_disk_on(
    fs: Arc<dyn Fs>,
    dir: &Path,
    each: &mut dyn FnMut(Message),
) -> Result<(), OpenError> {
    let index = look(&*fs, dir)?.index;
    let mut all: Vec<_> = index.iter().collect();
    drop(index);
    // As they lie on disk.
    all.sort_unstable_by_key(|(_, entry)| (entry.add, entry.section));
    let reader = Reader::new(fs, dir.join(JOURNAL));
    for (id, entry) in all {
        // Only what has ended in the meantime can be gone, and the records were checked a moment ago.
        if let Ok(message) = reader.message(id, entry) {
            each(message);
        }
    }
    Ok(())
}

fn look(fs: &dyn Fs, dir: &Path) -> Result<Replay, OpenError> {
    dir::check(fs, dir)?;
    let journal = dir.join(JOURNAL);
    let mut tries = 0;
    loop {
        tries += 1;
        let seqs = replay::segments(fs, &journal)?;
        match replay::replay(fs, &journal, &seqs, u64::MAX) {
            // A segment that vanishes may have told of ends that are told nowhere else now.
            Err(OpenError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            done => return done,
        }
    }
}
