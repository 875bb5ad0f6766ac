//! One attempt at one next hop: as many transactions as its recipients need, over one session or several.
//!
//! Every recipient is in one transaction that the peer answered for, or in none; what is reported says for each which.

use super::config::SmtpConfig;
use super::session::Session;
use super::transaction::{Ended, Outcome, transact};
use spool_core::{AttemptReport, AttemptResult, Job, NextHop, RecipientIndex, RefusedRecipient, Reply};
use std::collections::HashSet;

/// The attempt as far as it has come.
pub(super) struct Delivery<'a> {
    job: &'a Job,
    /// Not yet in a transaction that was answered.
    left: Vec<RecipientIndex>,
    accepted: Option<Reply>,
    refused: Vec<RefusedRecipient>,
    /// How many a transaction has had before the peer said that it was enough.
    enough: usize,
}

/// What a session brought.
pub(super) enum Step {
    /// The end.
    Done { report: AttemptReport, reusable: bool },
    /// The session takes no more, and there are recipients left for another one.
    Spent { reusable: bool },
    /// The session had ended; whether something was sent on it before.
    Stale { error: String, fruitless: bool },
    /// Nothing may be begun any more; the session could take more.
    Halted,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        Self {
            job,
            left: job.recipients.clone(),
            accepted: None,
            refused: Vec::new(),
            enough: usize::MAX,
        }
    }

    /// Sends on `session` what it takes.
    pub(super) async fn go_on(&mut self, session: &mut Session, config: &SmtpConfig) -> Step {
        let most = session.capabilities.rcpt_max.map(usize::try_from);
        let most = most.and_then(Result::ok).unwrap_or(usize::MAX);
        let mut fruitless = true;
        loop {
            if self.job.halt.is_set() {
                return Step::Halted;
            }
            let now: Vec<_> = self.left.iter().take(most.min(self.enough)).copied().collect();
            let ended = match transact(session, self.job, &now, config).await {
                Outcome::Ended(ended) => ended,
                Outcome::Stale(error) => return Step::Stale { error, fruitless },
            };
            let reusable = ended.reusable;
            if let Err(result) = self.settle(now, ended) {
                let report = self.failed(result, Some(session));
                return Step::Done { report, reusable };
            }
            fruitless = false;
            if self.left.is_empty() {
                let accepted = self.accepted.take();
                let result = accepted.map_or(AttemptResult::AllRefused, AttemptResult::Accepted);
                let report = self.report(result, Some(session));
                return Step::Done { report, reusable };
            }
            if session.is_spent(config) || !reusable {
                return Step::Spent { reusable };
            }
        }
    }

    /// Notes what became of the recipients `tried`; an error when it is no use to go on.
    fn settle(&mut self, tried: Vec<RecipientIndex>, ended: Ended) -> Result<(), AttemptResult> {
        let Ended {
            result,
            refused,
            postponed,
            ..
        } = ended;
        let single = tried.len() == self.left.len() && postponed.is_empty() && self.accepted.is_none();
        if !postponed.is_empty() {
            // The next transaction asks for no more: peers count what is too much as errors.
            self.enough = tried.len().saturating_sub(postponed.len() + refused.len()).max(1);
        }
        self.refused.extend(refused);
        if let AttemptResult::Accepted(reply) = result {
            self.accepted = Some(reply);
        } else if let AttemptResult::Refused { reply, .. } = &result
            && reply.is_permanent()
            && !single
        {
            // What others would be told is not known: theirs is a transaction of its own.
            let later: HashSet<_> = postponed.iter().collect();
            let of_it = tried.iter().filter(|recipient| !later.contains(recipient));
            self.refuse(of_it.copied().collect(), reply);
        } else if result != AttemptResult::AllRefused {
            return Err(result);
        }
        self.left.drain(..tried.len());
        self.left.splice(..0, postponed);
        Ok(())
    }

    /// Notes `reply` for those of `recipients` that have none.
    fn refuse(&mut self, recipients: Vec<RecipientIndex>, reply: &Reply) {
        let told: HashSet<_> = self.refused.iter().map(|refused| refused.recipient).collect();
        let untold = recipients
            .into_iter()
            .filter(|recipient| !told.contains(recipient));
        self.refused.extend(untold.map(|recipient| RefusedRecipient {
            recipient,
            reply: reply.clone(),
        }));
    }

    /// The report when there is no session for what is left, because of `error`; `None` when nothing was sent to anybody.
    pub(super) fn give_up(&mut self, hop: &NextHop, error: &str) -> Option<AttemptReport> {
        if self.accepted.is_none() && self.refused.is_empty() {
            return None;
        }
        let result = AttemptResult::NoConnection {
            error: error.to_owned(),
        };
        let mut report = self.failed(result, None);
        report.peer = Some(hop.clone());
        Some(report)
    }

    /// The end with `result`, for whoever is left. One report has one result: when others were taken before, it is told of
    /// each.
    fn failed(&mut self, result: AttemptResult, session: Option<&Session>) -> AttemptReport {
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
        if let Some(session) = session {
            report.peer = Some(session.key.hop.clone());
            report.session = Some(session.flow);
            report.tls = session.protection.record();
        }
        report
    }
}

/// What is said of a recipient whose transaction ended so.
fn reply_for(result: &AttemptResult) -> Reply {
    if let AttemptResult::Refused { reply, .. } = result {
        return reply.clone();
    }
    let doubt = match matches!(result, AttemptResult::Broken { in_doubt: true, .. }) {
        true => "; the next hop may hold the message for this recipient",
        false => "",
    };
    Reply::new(451, &format!("4.4.2 {result}{doubt}"))
}
