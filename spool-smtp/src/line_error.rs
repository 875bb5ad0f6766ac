//! What is wrong with a line of a file.

use thiserror::Error;

/// A line of a file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {text}")]
pub struct LineError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it; no part of a secret.
    pub text: String,
}
