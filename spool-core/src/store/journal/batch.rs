//! The result of writing a batch of changes.

use super::frame::Place;
use crate::store::error::StoreError;

/// Counts of what was written.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::store) struct Tally {
    pub(in crate::store) syncs: u64,
    pub(in crate::store) bytes: u64,
}

/// A change that was written.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Placed {
    /// Its position in the batch.
    pub(in crate::store) number: usize,
    pub(in crate::store) place: Place,
    /// Bytes of its frame.
    pub(in crate::store) length: u64,
}

/// The result of a batch.
#[derive(Debug, Default)]
pub(in crate::store) struct Batch {
    pub(in crate::store) results: Vec<Result<(), StoreError>>,
    /// The changes that were written, and where.
    pub(in crate::store) placed: Vec<Placed>,
    /// Free space, read at most once for a batch.
    pub(in crate::store) available: Option<u64>,
}
