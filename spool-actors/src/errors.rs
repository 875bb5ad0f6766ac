//! How a failure of the store is reported to the caller.

use spool_core::store::StoreError;
use spool_core::{AddError, SpoolError};

/// What a failed commit means for the one who waits for it.
pub(crate) fn add_error(error: StoreError) -> AddError {
    match error {
        StoreError::Full(why) => AddError::Full(why),
        StoreError::Failed(why) => AddError::Disk(why),
        StoreError::Loading | StoreError::Shortage(_) | StoreError::NotNow { .. } => AddError::Busy,
        other @ (StoreError::NoSuchMessage(_) | StoreError::Damaged { .. } | _) => {
            AddError::Disk(other.to_string())
        }
    }
}

/// What a failure of the store means for one message of an operation.
pub(crate) fn operation_error(error: StoreError) -> SpoolError {
    match error {
        StoreError::NoSuchMessage(id) => SpoolError::NoSuchMessage(id),
        StoreError::Damaged { id, reason } => SpoolError::Unreadable { id, reason },
        StoreError::Full(why) => SpoolError::Full(why),
        StoreError::Loading | StoreError::Shortage(_) | StoreError::NotNow { .. } => SpoolError::Busy,
        other @ (StoreError::Failed(_) | StoreError::Invalid(_) | _) => SpoolError::Disk(other.to_string()),
    }
}
