//! Why no notice was returned about failed recipients.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why no notice was returned about failed recipients, which therefore stay with their message. On disk each variant is
/// identified by its position: new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unreturned {
    /// The reverse-path is null: the message is a notice itself, or wants none (RFC 5321 section 6.1).
    NullReversePath,
    /// The submitter was neither authenticated nor in a known network: the reverse-path may be forged.
    UnknownSubmitter,
    /// The reverse-path has reached its limit of notices for this hour.
    TooMany,
    /// There was no room on the disk for the notice.
    NoRoom,
}

impl fmt::Display for Unreturned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NullReversePath => "the reverse-path is null",
            Self::UnknownSubmitter => "the submitter is not known",
            Self::TooMany => "the reverse-path was told of as many submissions as allowed in an hour",
            Self::NoRoom => "there was no room on the disk for the notice",
        })
    }
}
