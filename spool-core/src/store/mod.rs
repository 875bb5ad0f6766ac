//! The file layer: a write-ahead journal with group commit.
//!
//! [`Store::commit`] returns only after everything it was given is synced, with the directory wherever a file was created. One
//! [`Change`] is one atomic frame. The store decides nothing about mail, has no thread, reads no wall clock, and is
//! synchronous: its owner brings one writer and any number of readers.
//!
//! The rooms are [`fs`] (the file system), `layout` (every name on disk), `journal`, `logs`, `archive` and `care`. A room never
//! uses [`Store`]: the files beside this one put the rooms together.

mod archive;
mod archived;
mod care;
mod change;
mod commit;
mod dir;
mod error;
mod failure;
pub mod fs;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod journal;
mod layout;
mod load;
mod loading;
mod logs;
mod mutex;
mod noted;
mod numbering;
mod offline;
mod open;
mod space;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;

pub use crate::archive::{Archive, Archived};
pub use archive::{archive_from_disk, archived_text_from_disk, export_pair};
pub use archived::{LISTING_BYTES, Listed};
pub use care::finding::{Finding, ProblemKind, Repair};
pub use care::fsck::{Checkup, checkup, checkup_on};
pub use care::scrub::Scrubbed;
pub use change::{Addition, Change, Conclusion, Finish, NewMessage, Outcome};
pub use dir::examine_dir;
pub use error::{Failure, OpenError, StoreError};
pub use handle::Store;
pub use loading::Progress;
pub use logs::destinations::MAX_DESTINATIONS;
pub use logs::event_page::EventCursor;
pub use offline::{ReadBody, count_from_disk, count_from_disk_on, mail_from_disk, status_from_disk};
pub use open::Begun;
pub use types::{Damage, Recovered, Recovery, RememberedKey, StoreOptions, StoreStats};
