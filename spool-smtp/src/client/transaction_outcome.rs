//! How a transaction ended.

use spool_core::{AttemptResult, RecipientIndex, RefusedRecipient, Stage};

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum TransactionOutcome {
    Ended(TransactionEnd),
    /// The session cannot be used any more, and what the peer answered is not about this message: another session may start over. The session
    /// may end with QUIT if it is in step with the peer.
    Stale {
        error: String,
        in_step: bool,
    },
}

impl TransactionOutcome {
    pub(super) const fn stale(error: String, in_step: bool) -> Self {
        Self::Stale { error, in_step }
    }

    pub(super) const fn ended(result: AttemptResult, refused: Vec<RefusedRecipient>, reusable: bool) -> Self {
        Self::Ended(TransactionEnd {
            result,
            refused,
            postponed: Vec::new(),
            reusable,
            cut_after: None,
        })
    }
}

/// The result for the recipients of one transaction.
#[derive(Debug)]
pub(super) struct TransactionEnd {
    /// For the recipients that are in neither list below.
    pub(super) result: AttemptResult,
    pub(super) refused: Vec<RefusedRecipient>,
    /// Too many for one transaction: they go in the next one.
    pub(super) postponed: Vec<RecipientIndex>,
    /// Whether the session may be used again.
    pub(super) reusable: bool,
    /// After how many replies to RCPT the peer broke off or sent 421, if that was among the recipients or right after them.
    pub(super) cut_after: Option<usize>,
}

pub(super) const fn broken(stage: Stage, error: String, in_doubt: bool) -> AttemptResult {
    AttemptResult::Broken {
        stage,
        error,
        in_doubt,
    }
}
