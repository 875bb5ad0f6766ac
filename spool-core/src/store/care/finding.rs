//! Problems that the checkup or the scrub finds.

use crate::clock::Timestamp;
use crate::id::MessageId;
use derive_more::Display;
use serde::{Deserialize, Serialize};

/// The kind of a problem.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ProblemKind {
    /// Bytes that differ from what was written.
    Damaged,
    /// The end of a write that was never answered. The next start drops it.
    Torn,
    /// A file that belongs to no message, segment or log.
    Orphaned,
    /// A message that is in two places.
    Duplicated,
    /// A message that is still in the queue after its expiry. Its next attempt is its last.
    #[display("too old")]
    TooOld,
    /// Intact, but in the wrong place: a pair that does not match its checksum or name, a segment or a log file with
    /// the name of another one.
    Mismatched,
    /// An archived pair that cannot be recovered as it is.
    Unreadable,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The kind.
    #[serde(rename = "ailment")]
    pub problem: ProblemKind,
    /// The file, relative to the spool.
    pub file: String,
    /// The message, if one is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// A description in one line.
    pub what: String,
    /// Whether `--repair` can repair it.
    #[serde(rename = "mendable")]
    pub repairable: bool,
}

/// One action of a repair: a line of `corrupt/repairs.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Repair {
    /// The time.
    pub at: Timestamp,
    /// The kind of the problem.
    #[serde(rename = "ailment")]
    pub problem: ProblemKind,
    /// The file, relative to the spool.
    pub file: String,
    /// What was wrong, in one line.
    pub what: String,
    /// What was done, in one line.
    pub done: String,
    /// Where the deleted bytes are now, relative to the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}
