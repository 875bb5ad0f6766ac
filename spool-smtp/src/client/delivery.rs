//! The delivery of a message to one host: as many transactions as its recipients need, over one or more sessions.
//!
//! Each recipient is in at most one transaction that the peer answered. The report has the result for each.

use super::capabilities::Capabilities;
use super::commands::{unsupported, without_smtputf8};
use super::config::SmtpConfig;
use super::connect_error::ConnectError;
use super::host_outcome::{HostOutcome, reply_for};
use super::session::Session;
use super::transaction::transact;
use super::transaction_outcome::{TransactionEnd, TransactionOutcome};
use spool_core::{AttemptReport, AttemptResult, Job, NextHop, RecipientIndex, RefusedRecipient, Reply};
use std::collections::HashSet;
use tokio::time::{Instant, timeout_at};

/// How often the host may break off among the recipients of a transaction. After each time, another session is tried with fewer
/// recipients.
const MOST_CUTS: u32 = 4;

/// The state of a delivery.
pub(super) struct Delivery<'a> {
    job: &'a Job,
    /// The end of the attempt.
    end: Instant,
    /// The recipients without an answer.
    left: Vec<RecipientIndex>,
    accepted: Option<Reply>,
    refused: Vec<RefusedRecipient>,
    /// The recipients that ask for a notice of success and were accepted in a session without DSN.
    without_dsn: Vec<RecipientIndex>,
    /// The most recipients of a transaction: as many as the peer accepted before it refused more, or broke off.
    most: usize,
    /// Whether `most` has changed since [`Self::learned_limit`].
    learned: bool,
    cuts: u32,
    /// The value of `most` before the host broke off right after the last recipient.
    before_last_cut: Option<usize>,
    /// The result of the last transaction that was cut short.
    broke_off: Option<AttemptResult>,
    in_doubt: bool,
    /// The recipients whose addresses need SMTPUTF8, which the host does not offer.
    unsupported: Vec<RecipientIndex>,
}

/// The result of a delivery over one session.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once in a session, and taken apart at once"
)]
pub(super) enum SessionOutcome {
    /// The delivery has ended.
    Done { report: AttemptReport, reusable: bool },
    /// The session carries no more transactions, and there are recipients left for another one.
    Spent { reusable: bool },
    /// The session cannot be used any more, and the last transaction had no effect.
    Stale {
        error: String,
        /// Whether no transaction of the session had an effect.
        fruitless: bool,
        /// Whether the session may end with QUIT.
        in_step: bool,
    },
    /// Nothing may be sent any more. The session can be used again.
    Withdrawn,
}

impl<'a> Delivery<'a> {
    /// A delivery to the recipients `open`, at most `most` in a transaction, until `end`.
    pub(super) const fn new(job: &'a Job, open: Vec<RecipientIndex>, most: usize, end: Instant) -> Self {
        Self {
            job,
            end,
            left: open,
            accepted: None,
            refused: Vec::new(),
            without_dsn: Vec::new(),
            most,
            learned: false,
            cuts: 0,
            before_last_cut: None,
            broke_off: None,
            in_doubt: false,
            unsupported: Vec::new(),
        }
    }

    /// The recipients without an answer.
    pub(super) fn left(&self) -> &[RecipientIndex] {
        &self.left
    }

    /// The outcome of the host with this report.
    pub(super) fn outcome(&mut self, report: AttemptReport) -> HostOutcome {
        HostOutcome {
            report,
            in_doubt: self.in_doubt,
            unsupported: std::mem::take(&mut self.unsupported),
        }
    }

    /// Leaves out the recipients whose addresses need an extension that the peer does not offer.
    fn leave_out_unsupported(&mut self, session: &Session) {
        let out = unsupported(&session.capabilities, self.job, &self.left);
        if !out.is_empty() {
            let these: HashSet<_> = out.iter().copied().collect();
            self.left.retain(|recipient| !these.contains(recipient));
            self.unsupported.extend(out);
        }
    }

    /// The most recipients that the host accepts in a transaction, if that has changed since the last call.
    pub(super) fn learned_limit(&mut self) -> Option<usize> {
        std::mem::take(&mut self.learned).then_some(self.most)
    }

    /// Sends transactions on `session` until it carries no more, or the delivery ends.
    pub(super) async fn send_on(&mut self, session: &mut Session, config: &SmtpConfig) -> SessionOutcome {
        self.leave_out_unsupported(session);
        let mut fruitless = true;
        loop {
            if !self.may_begin().await {
                return SessionOutcome::Withdrawn;
            }
            let tried = self.next_recipients(&session.capabilities);
            let end = match transact(session, self.job, &tried, config).await {
                TransactionOutcome::Ended(end) => end,
                TransactionOutcome::Stale { error, in_step } => {
                    return SessionOutcome::Stale {
                        error,
                        fruitless,
                        in_step,
                    };
                }
            };
            let reusable = end.reusable;
            if !session.capabilities.dsn && matches!(end.result, AttemptResult::Accepted(_)) {
                self.note_without_dsn(&tried, &end);
            }
            if self.is_cut_short(&end, tried.len()) {
                return SessionOutcome::Spent { reusable };
            }
            if let Err(result) = self.settle(tried, end) {
                let report = self.failed(result, Some(session));
                return SessionOutcome::Done { report, reusable };
            }
            fruitless = false;
            if self.left.is_empty() {
                let accepted = self.accepted.take();
                let result = accepted.map_or(AttemptResult::AllRefused, AttemptResult::Accepted);
                let report = self.report(result, Some(session));
                return SessionOutcome::Done { report, reusable };
            }
            if session.is_spent(config) || !reusable {
                return SessionOutcome::Spent { reusable };
            }
        }
    }

    /// Whether a transaction may begin. Records the start of the attempt before the first one.
    async fn may_begin(&self) -> bool {
        let Job { begin, halt, .. } = self.job;
        if halt.is_set() {
            return false;
        }
        let recorded = timeout_at(self.end, begin.record()).await;
        matches!(recorded, Ok(Ok(()))) && !halt.is_set()
    }

    /// The recipients of the next transaction, within the host's limits on recipients and their domains (RFC 9422).
    fn next_recipients(&self, offers: &Capabilities) -> Vec<RecipientIndex> {
        let limit = |limit: Option<u32>| {
            limit
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(usize::MAX)
        };
        let (rcpt_max, most_domains) = (limit(offers.rcpt_max), limit(offers.rcpt_domain_max));
        let mut domains = HashSet::new();
        let mut fits = |index: RecipientIndex| {
            let recipient = self.job.envelope.recipient(index);
            domains.insert(recipient.map(|recipient| recipient.address.domain().to_ascii_lowercase()));
            domains.len() <= most_domains
        };
        let left = self.left.iter().copied().take(rcpt_max.min(self.most));
        match most_domains {
            usize::MAX => left.collect(),
            _ => left.take_while(|index| fits(*index)).collect(),
        }
    }

    /// Whether the host broke off among the recipients of a transaction of `tried` recipients, and is tried again with fewer. After the
    /// last recipient there may be another reason: one recipient fewer is tried once, and the limit is restored if that does not help.
    fn is_cut_short(&mut self, end: &TransactionEnd, tried: usize) -> bool {
        let Some(answered) = end.cut_after else {
            return false;
        };
        let after_the_last = answered >= tried;
        if after_the_last && let Some(before) = self.before_last_cut.take() {
            (self.most, self.learned) = (before, true);
            return false;
        }
        if tried < 2 {
            return false;
        }
        if after_the_last {
            self.before_last_cut = Some(self.most);
        }
        // Without any reply, the replies may have been lost with the connection.
        let fewer = if answered > 0 { answered } else { tried / 2 };
        self.most = if fewer < tried { fewer } else { tried - 1 };
        self.learned = true;
        self.cuts += 1;
        self.broke_off = Some(end.result.clone());
        answered > 0 && self.cuts <= MOST_CUTS
    }

    /// Notes the result for the recipients `tried`.
    ///
    /// # Errors
    /// The result for all recipients that are left, when no further transaction is of use.
    fn settle(&mut self, tried: Vec<RecipientIndex>, end: TransactionEnd) -> Result<(), AttemptResult> {
        let TransactionEnd {
            result,
            refused,
            postponed,
            ..
        } = end;
        let single = tried.len() == self.left.len() && postponed.is_empty() && self.accepted.is_none();
        if !postponed.is_empty() {
            // The next transaction has no more, because peers count excess recipients as errors.
            self.most = tried.len().saturating_sub(postponed.len() + refused.len()).max(1);
            self.learned = true;
        }
        self.broke_off = None;
        self.before_last_cut = None;
        self.refused.extend(refused);
        if let AttemptResult::Accepted(reply) = result {
            self.accepted = Some(reply);
        } else if let AttemptResult::Refused { reply, .. } = &result
            && reply.is_permanent()
            && !single
        {
            // The other recipients may get another reply in their own transaction.
            let later: HashSet<_> = postponed.iter().collect();
            let refused = tried.iter().filter(|recipient| !later.contains(recipient));
            self.refuse(refused.copied().collect(), reply);
        } else if result != AttemptResult::AllRefused {
            return Err(result);
        }
        self.left.drain(..tried.len());
        self.left.splice(..0, postponed);
        Ok(())
    }

    /// Notes the accepted recipients that ask for a notice of success.
    fn note_without_dsn(&mut self, tried: &[RecipientIndex], end: &TransactionEnd) {
        let refused = end.refused.iter().map(|refused| refused.recipient);
        let others: HashSet<_> = refused.chain(end.postponed.iter().copied()).collect();
        let wants = |index: &RecipientIndex| {
            let recipient = self.job.envelope.recipient(*index);
            let notify = recipient.and_then(|recipient| recipient.notify);
            notify.is_some_and(|notify| notify.success) && !others.contains(index)
        };
        self.without_dsn.extend(tried.iter().copied().filter(wants));
    }

    /// Sets `reply` for those of `recipients` that have none.
    fn refuse(&mut self, recipients: Vec<RecipientIndex>, reply: &Reply) {
        let known: HashSet<_> = self.refused.iter().map(|refused| refused.recipient).collect();
        let unreported = recipients
            .into_iter()
            .filter(|recipient| !known.contains(recipient));
        self.refused.extend(unreported.map(|recipient| RefusedRecipient {
            recipient,
            reply: reply.clone(),
        }));
    }

    /// The outcome when there is no session for the recipients that are left.
    ///
    /// # Errors
    /// `error`, if no transaction had a result.
    pub(super) fn give_up(
        &mut self,
        hop: &NextHop,
        error: ConnectError,
    ) -> Result<HostOutcome, ConnectError> {
        let broke_off = self.broke_off.take();
        if self.accepted.is_none() && self.refused.is_empty() && broke_off.is_none() {
            return Err(error);
        }
        let result = broke_off.unwrap_or_else(|| AttemptResult::NoConnection {
            error: error.to_string(),
        });
        let mut report = self.failed(result, None);
        report.peer = Some(hop.clone());
        Ok(self.outcome(report))
    }

    /// The report with `result` for the recipients that are left. If others were accepted before, the reply for each is set to `result`.
    fn failed(&mut self, result: AttemptResult, session: Option<&Session>) -> AttemptReport {
        self.in_doubt = matches!(result, AttemptResult::Broken { in_doubt: true, .. });
        let Some(accepted) = self.accepted.take() else {
            return self.report(result, session);
        };
        let left = std::mem::take(&mut self.left);
        self.refuse(left, &reply_for(&result));
        self.report(AttemptResult::Accepted(accepted), session)
    }

    fn report(&mut self, result: AttemptResult, session: Option<&Session>) -> AttemptReport {
        let mut report = AttemptReport::new(result);
        report.refused = std::mem::take(&mut self.refused);
        report.without_dsn = std::mem::take(&mut self.without_dsn);
        let unsupported = self.unsupported.iter();
        report
            .refused
            .extend(unsupported.map(|recipient| RefusedRecipient {
                recipient: *recipient,
                reply: without_smtputf8(),
            }));
        if let Some(session) = session {
            report.peer = Some(session.key.hop.clone());
            report.session = Some(session.flow);
            report.tls = session.protection.record();
            report.address = Some(session.address);
        }
        report
    }
}
