//! The result of one host of an attempt, for the recipients that it was tried for.

use spool_core::{AttemptReport, AttemptResult, EnhancedCode, RecipientIndex, Reply};

/// "Too many messages": about the sender, whichever address of the host it uses.
const TOO_FAST: EnhancedCode = EnhancedCode(4, 7, 28);

/// The report of a host, with its number among the hosts of the attempt.
pub(super) type NumberedReport = (usize, AttemptReport);

/// The result of one host.
pub(super) struct HostOutcome {
    pub(super) report: AttemptReport,
    /// Whether the host may have the message for a recipient that it did not answer for.
    pub(super) in_doubt: bool,
    /// The refused recipients whose addresses need SMTPUTF8, which the host does not offer: it was not sent them. Another host may
    /// offer it.
    pub(super) unsupported: Vec<RecipientIndex>,
}

impl HostOutcome {
    /// Whether another address of the host may accept what this one did not: it refused the message temporarily, and not because of a
    /// rate, or broke off. Refusals of single recipients would be the same there.
    pub(super) fn may_depend_on_the_address(&self) -> bool {
        let result = &self.report.result;
        let is_temporary = |reply: &Reply| !reply.is_permanent() && reply.enhanced != Some(TOO_FAST);
        matches!(result, AttemptResult::Refused { reply, .. } if is_temporary(reply))
            || matches!(result, AttemptResult::Broken { .. }) && !self.in_doubt
    }
}

/// Whether the host has refused the message permanently.
pub(super) fn is_permanent((_, report): &NumberedReport) -> bool {
    matches!(&report.result, AttemptResult::Refused { reply, .. } if reply.is_permanent())
}

/// The reply that is recorded for each recipient that has none of its own.
pub(super) fn reply_for(result: &AttemptResult) -> Reply {
    if let AttemptResult::Refused { reply, .. } = result {
        return reply.clone();
    }
    let doubt = match matches!(result, AttemptResult::Broken { in_doubt: true, .. }) {
        true => "; the next hop may hold the message for this recipient",
        false => "",
    };
    Reply::new(451, &format!("4.4.2 {result}{doubt}"))
}
