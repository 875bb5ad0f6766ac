//! The decisions on one attempt: one for each refused recipient, and one for the message.

use crate::attempt::{AttemptReport, AttemptResult, RefusedRecipient};
use crate::hooks::Refusal;
use crate::message::Message;
use crate::next_hop::NextHop;
use crate::on_error::{OnError, default_decision};
use crate::reply::Reply;
use std::sync::Arc;

/// The decisions on one report: one for each refused recipient, and one for the message when all others failed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisions {
    /// In the order of [`AttemptReport::refused`].
    pub recipients: Vec<OnError>,
    /// For the recipients that were not refused individually; ignored if they were accepted.
    pub message: OnError,
}

impl Decisions {
    /// [`default_decision`] for all of them.
    #[must_use]
    pub fn by_default(report: &AttemptReport) -> Self {
        let one =
            |refused: &RefusedRecipient| default_decision(&AttemptResult::AllRefused, Some(&refused.reply));
        Self {
            recipients: report.refused.iter().map(one).collect(),
            message: default_decision(&report.result, message_reply(&report.result)),
        }
    }
}

/// What on_error is asked about an attempt: each refused recipient, in the order of [`AttemptReport::refused`], and the
/// message, if more than individual recipients was refused.
#[must_use]
pub fn refusals(
    message: &Arc<Message>,
    report: &AttemptReport,
    defaults: &Decisions,
) -> (Vec<Refusal>, Option<Refusal>) {
    let refusal = |recipient, peer: Option<&NextHop>, reply: Option<&Reply>, default| Refusal {
        message: Arc::clone(message),
        recipient,
        peer: peer.cloned(),
        result: report.result.clone(),
        reply: reply.cloned(),
        default,
    };
    let refused = report.refused.iter().zip(&defaults.recipients);
    let peers = report.refusing_hosts();
    let recipients = refused.zip(peers).map(|((refused, default), peer)| {
        refusal(Some(refused.recipient), peer, Some(&refused.reply), *default)
    });
    let single = matches!(
        report.result,
        AttemptResult::Accepted(_) | AttemptResult::AllRefused
    );
    let whole = (!single).then(|| {
        let reply = message_reply(&report.result);
        refusal(None, report.peer.as_ref(), reply, defaults.message)
    });
    (recipients.collect(), whole)
}

/// The reply that refused the message, if there was one.
pub(crate) fn message_reply(result: &AttemptResult) -> Option<&Reply> {
    if let AttemptResult::Refused { reply, .. } = result {
        Some(reply)
    } else {
        None
    }
}
