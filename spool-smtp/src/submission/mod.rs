//! Reads and completes the messages of submitters (RFC 6409 section 8): pure functions of bytes.
//!
//! Nothing here refuses a message, folds, re-encodes or reorders.

mod author;
mod fields;
mod fix;

pub use author::{NoAuthor, author_domain};
pub(crate) use fields::{Field, Fields, body_start};
pub(crate) use fix::insert;
pub use fix::{Completion, FixSubmissions, complete};
