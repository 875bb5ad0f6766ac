//! Reads and completes the messages of submitters (RFC 6409 section 8): pure functions of bytes.
//!
//! Nothing here refuses a message, folds, re-encodes or reorders.

mod addresses;
mod author;
mod fields;
mod fix;
mod folded;

pub use addresses::addresses;
pub use author::{NoAuthor, author_domain};
pub(crate) use fields::body_start;
pub use fields::{Field, Fields};
pub(crate) use fix::insert;
pub use fix::{Completion, FixSubmissions, complete};
pub(crate) use folded::Folded;
