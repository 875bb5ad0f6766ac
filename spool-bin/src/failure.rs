//! How a command fails: its text and its exit status.

use crate::descriptors;
use crate::print;
use derive_more::Display;
use spool_core::store::OpenError;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug, Display)]
pub(crate) enum Failure {
    /// Exit 1.
    Failed(String),
    /// Exit 2: the command line or the configuration is wrong.
    Usage(String),
    /// Exit 2: the command line could not be read. The text is that of clap.
    CommandLine(String),
    /// Exit 3: another process holds the spool.
    Locked(String),
    /// Exit 4.
    NoSuchMessage(String),
}

impl Failure {
    /// Prints it on standard error; returns the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let (text, status) = match self {
            Self::Failed(text) => (text, 1),
            Self::Usage(text) => (text, 2),
            Self::CommandLine(text) => {
                print::tell(text.trim_end());
                return ExitCode::from(2);
            }
            Self::Locked(text) => (text, 3),
            Self::NoSuchMessage(text) => (text, 4),
        };
        print::print_error(text);
        if let Some(advice) = descriptors::advice(text) {
            print::print_error(&advice);
        }
        ExitCode::from(status)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match matches!(error, OpenError::Locked { .. }) {
            true => Self::Locked(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}
