//! Why a message of the drop directory was not added.

use spool_core::AddError;

/// Why a message is not on the spool.
#[derive(Debug)]
pub(super) enum NotAdded {
    /// It never can be.
    Bad(String),
    /// It may be added later; other messages may be added now.
    Waits(String),
    /// It may be added later, and so may others.
    Later(String),
}

impl From<AddError> for NotAdded {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(_) | AddError::TooManyRecipients { .. } | AddError::KeyReused { .. } => {
                Self::Bad(error.to_string())
            }
            AddError::Unsigned(_) => Self::Waits(error.to_string()),
            // Also unknown errors: nothing is lost by waiting.
            AddError::Busy
            | AddError::Full(_)
            | AddError::Disk(_)
            | AddError::Ended(_)
            | AddError::Killed
            | _ => Self::Later(error.to_string()),
        }
    }
}
