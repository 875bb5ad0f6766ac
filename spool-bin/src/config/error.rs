//! Errors of a configuration file.

use std::path::PathBuf;
use thiserror::Error;

/// An error, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{}: cannot read the configuration: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}", problems.iter().map(|p| format!("{}:{}: {}", path.display(), p.line, p.text)).collect::<Vec<_>>().join("\n"))]
    Problems { path: PathBuf, problems: Vec<Problem> },
}
