//! The log record of an operation: who asked for what, and the result.

use super::caller::{Caller, address};
use crate::operation::Report;
use spool_core::SpoolError;
use spool_core::log::{Operation, Record};

/// What an operation applies to: messages or clients as conditions; or, with empty conditions, a user who has logged in.
pub(super) type Subject = (String, Option<String>);

/// Logs an operation.
pub(super) fn log(
    name: &'static str,
    by: Caller,
    (selector, user): Subject,
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
    let operation = Operation {
        name,
        by: address(by).map_or_else(|| "unknown".to_owned(), |address| address.to_string()),
        selector,
        user,
        matched: count(matched),
        done: count(done),
        failed: count(failed),
        error,
    };
    Record::Operation(operation).emit();
}
