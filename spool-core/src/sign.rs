//! The seam between those who make messages and those who hold signing keys: [`Signer`].
//!
//! A signer never touches the spool, and never decides what is accepted.

use crate::error::AddError;
use crate::future::BoxFuture;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// When to try again after [`SignError::Busy`].
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a message was not signed although it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignError {
    /// Too many messages wait for their signature; try again soon.
    #[error("too many messages wait for their signature")]
    Busy,
    /// The signature could not be made.
    #[error("{0}")]
    Failed(String),
}

/// [`AddError::Busy`] or [`AddError::Unsigned`].
impl From<SignError> for AddError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Busy => Self::Busy {
                retry_after: RETRY_AFTER,
            },
            SignError::Failed(why) => Self::Unsigned(why),
        }
    }
}

/// Signs complete messages on behalf of the domains of their authors.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// `message` with its signatures put in front of it, and otherwise unchanged; `message` itself, not copied, when no key is for
    /// it. It consists of lines ended by CRLF, and nothing in it may be changed afterwards.
    ///
    /// The future runs on a tokio runtime, does its computations on other threads, and ends within the signer's own time limit.
    fn sign(&self, message: Bytes) -> BoxFuture<Result<Bytes, SignError>>;
}
