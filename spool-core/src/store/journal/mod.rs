//! The journal: segments of checksummed frames, written by one writer and read by many readers.
//!
//! This module accesses the directory `journal/` only, and does not use the logs or the archives.

pub(super) mod decoded;
pub(super) mod frame;
mod ids;
pub(super) mod index;
pub(super) mod new_segments;
pub(super) mod reader;
pub(super) mod record;
pub(super) mod replay;
pub(super) mod scan;
pub(super) mod segment;
mod validate;
pub(super) mod window;
pub(super) mod write_error;
pub(super) mod writer;
