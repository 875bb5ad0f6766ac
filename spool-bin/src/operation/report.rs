//! The result of an operation.

use serde::{Deserialize, Serialize};
use spool_core::{MessageId, SpoolError};

/// Why an operation failed for one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// The message, when the error concerns one.
    pub(crate) id: Option<MessageId>,
    /// For programs: `no_such_message`, `not_frozen` and so on.
    pub(crate) code: String,
    /// For people.
    pub(crate) error: String,
}

impl From<&SpoolError> for Trouble {
    fn from(error: &SpoolError) -> Self {
        let (code, id) = match error {
            SpoolError::NoSuchMessage(id) => ("no_such_message", Some(*id)),
            SpoolError::NotFrozen(id) => ("not_frozen", Some(*id)),
            SpoolError::NoRoute(id) => ("no_route", Some(*id)),
            SpoolError::BeingSent(id) => ("being_sent", Some(*id)),
            SpoolError::NullReversePath(id) => ("null_reverse_path", Some(*id)),
            SpoolError::OnSpool(id) => ("on_spool", Some(*id)),
            SpoolError::Unreadable { id, .. } => ("unreadable", Some(*id)),
            SpoolError::Full(_) => ("full", None),
            SpoolError::Disk(_) => ("disk", None),
            SpoolError::NoConfiguration => ("no_configuration", None),
            SpoolError::NoNotices => ("no_notices", None),
            SpoolError::Killed => ("closed", None),
            SpoolError::Ended(_) => ("ended", None),
            SpoolError::Busy => ("busy", None),
            SpoolError::NoNextHop | _ => ("failed", None),
        };
        Self {
            id,
            code: code.to_owned(),
            error: error.to_string(),
        }
    }
}

/// The result of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Messages that were selected.
    pub(crate) matched: usize,
    /// Messages that were changed, or had the requested state already.
    pub(crate) done: usize,
    /// Errors of the others.
    pub(crate) errors: Vec<Trouble>,
    /// Of a dry run: the messages that would be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<Vec<MessageId>>,
    /// The error when the whole operation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Report {
    /// Whether nothing was done because none of the messages exists.
    pub(crate) fn found_nothing(&self) -> bool {
        let gone = |trouble: &Trouble| trouble.code == "no_such_message";
        let any = self.done > 0 || self.ids.as_ref().is_some_and(|ids| !ids.is_empty());
        !any && !self.errors.is_empty() && self.errors.iter().all(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_distinguishes_missing_from_failed() {
        let id = MessageId::from_u128(7);
        let report = |done, errors: &[SpoolError]| Report {
            done,
            errors: errors.iter().map(Trouble::from).collect(),
            ..Report::default()
        };
        assert!(report(0, &[SpoolError::NoSuchMessage(id)]).found_nothing());
        assert!(!report(1, &[SpoolError::NoSuchMessage(id)]).found_nothing());
        assert!(!report(0, &[SpoolError::NoSuchMessage(id), SpoolError::NotFrozen(id)]).found_nothing());
        assert!(!report(0, &[]).found_nothing());
    }
}
