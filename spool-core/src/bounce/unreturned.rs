//! Why no notice was returned about failed recipients.

use derive_more::Display;
use serde::{Deserialize, Serialize};

/// Why no notice was returned about failed recipients, which therefore stay with their message. On disk each variant is
/// identified by its position: new ones are added at the end.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unreturned {
    /// The reverse-path is null: the message is a notice itself, or wants none (RFC 5321 section 6.1).
    #[display("the reverse-path is null")]
    NullReversePath,
    /// The submitter was neither authenticated nor in a known network: the reverse-path may be forged.
    #[display("the submitter is not known")]
    UnknownSubmitter,
    /// The reverse-path has reached its limit of notices for this hour.
    #[display("the reverse-path was told of as many submissions as allowed in an hour")]
    TooMany,
    /// There was no room on the disk for the notice.
    #[display("there was no room on the disk for the notice")]
    NoRoom,
}
