//! A second opinion on faults, on the real file system: `strace` makes system calls fail, or kills the process at them, while
//! a small program or the service works on a spool. Afterwards everything that was answered must be there.
//!
//! The suite runs a short version; docs/faults.md describes how to run all of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests panic")]

mod campaign;
mod check;
mod probe;
mod service;
mod trace;
