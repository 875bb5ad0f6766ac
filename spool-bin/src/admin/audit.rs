//! The log record of an operation: who asked for what, and the result.

use super::caller::Caller;
use crate::operation::Report;
use spool_core::SpoolError;
use spool_core::log::{Operation, Record};

/// What an operation applies to.
pub(super) enum Subject {
    /// Messages or clients, as conditions.
    Selector(String),
    /// A user who has logged in.
    User(String),
}

impl From<String> for Subject {
    fn from(selector: String) -> Self {
        Self::Selector(selector)
    }
}

/// Logs an operation.
pub(super) fn log(
    name: &'static str,
    by: Caller,
    subject: impl Into<Subject>,
    report: Result<&Report, &SpoolError>,
) {
    if !Record::wanted() {
        return;
    }
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (matched, done, failed, error) = match report {
        Ok(report) => (report.matched, report.done, report.errors.len(), None),
        Err(error) => (0, 0, 0, Some(error.to_string())),
    };
    let (selector, user) = match subject.into() {
        Subject::Selector(selector) => (selector, None),
        Subject::User(user) => (String::new(), Some(user)),
    };
    let operation = Operation {
        name,
        by: by.to_string(),
        selector,
        user,
        matched: count(matched),
        done: count(done),
        failed: count(failed),
        error,
    };
    Record::Operation(operation).emit();
}
