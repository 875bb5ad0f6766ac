//! The habits of the tree, checked: sizes, names, imports, dependencies and words. Everything here reads text and runs no program but cargo.
//!
//! A check that has exceptions reads them from a list beside it, such as `long_files.txt`: a line is `KEY NUMBER -- REASON`. A list may only
//! shrink: an entry that is no longer needed fails the check, and so does one whose thing has grown. After work that shortens a list,
//! `SPOOL_HABITS=write cargo test -p spool-tests --test habits` deletes what is not needed and lowers the numbers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod circles;
mod dependencies;
mod exceptions;
mod imports;
mod names;
mod pages;
mod sizes;
mod source;
mod words;
