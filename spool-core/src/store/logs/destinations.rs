//! The destinations file: what was learned of next hops, kept across restarts.
//!
//! It has one JSON line for each destination, at most [`MAX_DESTINATIONS`] lines, and is replaced as a whole: written
//! as a draft, synced, renamed. If it is lost, the destinations are learned again, so no error here stops a start or a
//! commit.

use crate::destination::LearnedDestination;
use crate::store::fs::{Fs, Mode, ops};
use crate::store::layout;
use std::io;
use std::path::Path;

/// The most destinations that are kept.
pub const MAX_DESTINATIONS: usize = 10_000;
/// The longest file that is read. Each line has two short texts of a peer and its next hops.
const MAX_SIZE: u64 = 32 << 20;

/// What the file of the spool in `dir` holds. Unreadable lines are left out; an unreadable file counts as empty.
pub(in crate::store) fn load(fs: &dyn Fs, dir: &Path) -> Vec<LearnedDestination> {
    let bytes = match read(fs, &dir.join(layout::DESTINATIONS)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "the destinations file cannot be read; destinations are learned again");
            Vec::new()
        }
    };
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .take(MAX_DESTINATIONS)
        .collect()
}

fn read(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    ops::read_whole(&*fs.open(path, Mode::Read)?, MAX_SIZE)
}

/// Replaces the file of the spool in `dir`. Durable when it returns.
pub(in crate::store) fn write(fs: &dyn Fs, dir: &Path, learned: &[LearnedDestination]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for destination in learned.iter().take(MAX_DESTINATIONS) {
        serde_json::to_writer(&mut bytes, destination)?;
        bytes.push(b'\n');
    }
    let draft = dir.join(layout::DESTINATIONS_DRAFT);
    ops::replace(fs, &dir.join(layout::DESTINATIONS), &draft, &bytes)
}
