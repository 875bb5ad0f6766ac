//! What to do about a refusal, and the default decision.

use crate::attempt::{AttemptResult, Stage, is_rate_limit};
use crate::reply::Reply;

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// Do not try again.
    FailPermanently,
    /// Take the next retry interval.
    TryLater,
    /// The same, because the peer asked for slower sending.
    TryLaterRateLimited,
    /// It is handled elsewhere: neither remaining nor failed.
    Done,
}

/// The default decision: 5xx fails, rate limits and all else are tried later. A greeting or session refused with 5xx
/// says nothing about the message, and is also tried later.
#[must_use]
pub fn default_decision(result: &AttemptResult, reply: Option<&Reply>) -> OnError {
    let session = matches!(
        result,
        AttemptResult::Refused {
            stage: Stage::Connect | Stage::Hello | Stage::Tls | Stage::Auth,
            ..
        }
    );
    match reply {
        Some(reply) if reply.is_permanent() && !session => OnError::FailPermanently,
        Some(reply) if is_rate_limit(reply) => OnError::TryLaterRateLimited,
        Some(_) | None => OnError::TryLater,
    }
}
