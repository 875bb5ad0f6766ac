//! The interface between code that creates messages and code that holds signing keys: [`Signer`].
//!
//! A signer does not use the spool, and does not decide what is accepted.

use crate::error::AddError;
use crate::future::BoxFuture;
use bytes::Bytes;
use std::fmt;
use thiserror::Error;

/// Why a message that must be signed was not.
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
            SignError::Busy => Self::Busy,
            SignError::Failed(why) => Self::Unsigned(why),
        }
    }
}

/// Signs complete messages on behalf of the domains of their authors.
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// `message` with its signatures prepended, and otherwise unchanged; `message` itself, not copied, when there is no
    /// key for it. Its lines end with CRLF, and it must not be changed afterwards.
    ///
    /// The future runs on a tokio runtime, computes on other threads, and ends within the signer's own time limit.
    fn sign(&self, message: Bytes) -> BoxFuture<Result<Bytes, SignError>>;
}
