//! Care for the files: repair after a crash, compaction, the scrub, the checkup, and a check for files that were
//! deleted while open.
//!
//! This room reads every file of the spool. It changes the journal (compaction through the writer, repairs in place)
//! and copies damaged bytes to `corrupt/`.

pub(super) mod compaction;
pub(super) mod finding;
pub(super) mod fsck;
pub(super) mod open_files;
pub(super) mod recovery;
pub(super) mod scrub;
