//! The destinations file: what was learned of next hops, kept over a restart.
//!
//! One JSON line for each destination, replaced as a whole: written under another name, synced, renamed. Losing it costs
//! nothing but learning anew, so nothing that goes wrong with it stops a start or a commit. It never grows beyond
//! [`MAX_DESTINATIONS`] lines.

use crate::destination::LearnedDestination;
use crate::store::fs::{Fs, Mode, ops};
use crate::store::layout;
use std::io;
use std::path::Path;

/// The most destinations that are remembered.
pub const MAX_DESTINATIONS: usize = 10_000;
/// The longest file that is read: each line has two short texts of a peer in it, and its next hops.
const MAX_SIZE: u64 = 32 << 20;

/// What the file of the spool in `dir` remembers. A line that cannot be read is left out, a file that cannot be read is
/// as good as none.
pub(in crate::store) fn load(fs: &dyn Fs, dir: &Path) -> Vec<LearnedDestination> {
    let bytes = match read(fs, &dir.join(layout::DESTINATIONS)) {
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
    let file = ops::create_anew(fs, &draft)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    fs.rename(&draft, &dir.join(layout::DESTINATIONS))?;
    fs.sync_dir(dir)
}
