//! The archives `removed/` and `quarantine/`: messages that left the queue, as plain files for people.
//!
//! An archived message is a pair of files, `<id>.eml` and `<id>.json`, which a person may read, edit, move or add. This room
//! touches the two directories only, never the journal. A failure here does not end the store.

mod dir;
mod metadata;
mod offline;
mod recipient;

pub(super) use dir::{ArchiveDir, tidy};
pub(super) use metadata::PairError;
pub use offline::{archive_from_disk, archived_text_from_disk, export_pair};
