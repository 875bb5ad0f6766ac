//! The destinations file: what was learned of next hops, kept over a restart.
//!
//! One JSON line for each destination, replaced as a whole: written under another name, synced, renamed. Losing it costs
//! nothing but learning anew, so nothing that goes wrong with it stops a start or a commit. It never grows beyond
//! [`MAX_DESTINATIONS`] lines.

use super::fs::{Fs, Mode};
use super::{Store, StoreError};
use crate::destination::LearnedDestination;
use std::io;
use std::path::Path;

/// Its name in the spool.
const FILE: &str = "destinations.jsonl";
const DRAFT: &str = "destinations.jsonl.tmp";
/// The most destinations that are remembered.
pub const MAX_DESTINATIONS: usize = 10_000;
/// The longest file that is read: each line has two short texts of a peer in it, and its next hops.
const MAX_SIZE: u64 = 32 << 20;

/// What the file of the spool in `dir` remembers. A line that cannot be read is left out, a file that cannot be read is
/// as good as none.
pub(super) fn load(fs: &dyn Fs, dir: &Path) -> Vec<LearnedDestination> {
    let bytes = match read(fs, &dir.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "what was learned of destinations cannot be read; it is learned anew");
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
    let file = fs.open(path, Mode::Read)?;
    let size = file.size()?;
    if size > MAX_SIZE {
        return Err(io::Error::other(format!(
            "{size} bytes: at most {MAX_SIZE} are read"
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let count = file.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn write(fs: &dyn Fs, dir: &Path, learned: &[LearnedDestination]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for destination in learned.iter().take(MAX_DESTINATIONS) {
        serde_json::to_writer(&mut bytes, destination)?;
        bytes.push(b'\n');
    }
    let draft = dir.join(DRAFT);
    let file = match fs.open(&draft, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs.unlink(&draft)?;
            fs.open(&draft, Mode::Create)?
        }
        opened => opened?,
    };
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    fs.rename(&draft, &dir.join(FILE))?;
    fs.sync_dir(dir)
}

impl Store {
    /// Remembers `learned`, the most important first, in place of what was remembered. Durable when it answers; one call at
    /// a time.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; what was remembered before may still be so. The journal knows nothing of it.
    pub fn keep_destinations(&self, learned: &[LearnedDestination]) -> Result<(), StoreError> {
        let dir = self.journal.parent().unwrap_or(&self.journal);
        let failed = |error: io::Error| StoreError::Failed(format!("{FILE}: {error}"));
        write(&*self.fs, dir, learned).map_err(failed)
    }
}
