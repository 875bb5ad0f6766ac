//! What a checkup or the scrub finds wrong.

use crate::id::MessageId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ailment {
    /// Bytes that are not what was written.
    Damaged,
    /// The end of a write that was never answered; the next start drops it.
    Torn,
    /// A file that belongs to nothing.
    Orphaned,
    /// A message that is in two places.
    Duplicated,
    /// A message that waits although its time to be given up has passed. Its next attempt is its last.
    TooOld,
    /// Whole, but not what belongs there: a pair that its checksum or its name does not fit, a segment or a log under
    /// another one's name.
    Mismatched,
    /// A pair on a shelf that cannot be recovered as it is.
    Unreadable,
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Torn => "torn",
            Self::Orphaned => "orphaned",
            Self::Duplicated => "duplicated",
            Self::TooOld => "too old",
            Self::Mismatched => "mismatched",
            Self::Unreadable => "unreadable",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub ailment: Ailment,
    /// Where, relative to the spool.
    pub file: String,
    /// Of which message, if of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// In one line, what.
    pub what: String,
    /// Whether a repair mends it: not what only a person can.
    pub mendable: bool,
}
