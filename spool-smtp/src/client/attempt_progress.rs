//! One attempt over several hosts: which recipients are still open after each host, and the report at the end. Pure.
//!
//! When a host refuses temporarily, or breaks off before the final dot was sent, the next host is tried for the recipients that are still
//! open (RFC 5321 section 5.1). A recipient is not sent again if a host may have accepted it, or has refused it permanently.

use super::commands::without_smtputf8;
use super::connect_error::ConnectError;
use super::host_outcome::{HostOutcome, NumberedReport, is_permanent, reply_for};
use super::passed_hosts::PassedHosts;
use spool_core::{
    AttemptReport, AttemptResult, HostReport, Job, NextHop, RecipientIndex, RefusedRecipient, Reply,
};
use std::collections::{BTreeMap, HashSet};
use tokio::time::Instant;

/// The most hosts, beside the one that decides the result, that the record keeps.
const MAX_RECORDED: usize = 16;
/// The most recipients whose refusals the record of each of those keeps. The result has all of them.
const MAX_REFUSED: usize = 100;

/// The attempt so far.
pub(super) struct AttemptProgress<'a> {
    pub(super) job: &'a Job,
    begun: Instant,
    /// The recipients that a host has accepted.
    accepted: HashSet<RecipientIndex>,
    /// Of those, the ones that ask for a notice of success and were accepted by a host without DSN.
    without_dsn: Vec<RecipientIndex>,
    /// The last reply for each recipient.
    replies: BTreeMap<RecipientIndex, Reply>,
    /// The last host that accepted the message for any recipient.
    accepting: Option<NumberedReport>,
    /// The last host that refused the whole message, or broke off: for the recipients without a reply of their own.
    ended: Option<NumberedReport>,
    /// The last host that refused single recipients.
    refusing: Option<NumberedReport>,
    /// A host may have the message: no other is tried.
    in_doubt: bool,
    /// The recipients that no host so far could be sent because it lacks SMTPUTF8; `None` before the first host.
    unsupported: Option<HashSet<RecipientIndex>>,
    passed: PassedHosts,
    hosts: Vec<HostReport>,
    /// The number of hosts that were tried or passed over.
    count: usize,
}

impl<'a> AttemptProgress<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        Self {
            job,
            begun: Instant::now(),
            accepted: HashSet::new(),
            without_dsn: Vec::new(),
            replies: BTreeMap::new(),
            accepting: None,
            ended: None,
            refusing: None,
            in_doubt: false,
            unsupported: None,
            passed: PassedHosts::default(),
            hosts: Vec::new(),
            count: 0,
        }
    }

    /// The recipients for which the next host is tried.
    pub(super) fn open(&self) -> Vec<RecipientIndex> {
        if self.in_doubt || self.passed.withdrawn {
            return Vec::new();
        }
        let all_refused = self.is_refused_permanently();
        let is_open = |recipient: &RecipientIndex| {
            let reply = self.replies.get(recipient);
            let is_final = reply.map_or(all_refused, Reply::is_permanent);
            !self.accepted.contains(recipient) && !is_final
        };
        self.job.recipients.iter().copied().filter(is_open).collect()
    }

    /// Notes a host that was passed over without a transaction.
    pub(super) fn pass(&mut self, peer: NextHop, error: &ConnectError, begun: Instant) {
        let mut report = AttemptReport::new(error.result());
        report.peer = Some(peer.clone());
        if !matches!(error, ConnectError::Withdrawn) {
            self.record(&report, begun);
        }
        let line = self.passed.add(peer, error, (self.count, report));
        tracing::debug!(id = %self.job.message, flow = ?self.job.flows, "passed over {line}");
        self.count += 1;
    }

    /// Notes the result of a host that was tried for the recipients `tried`.
    pub(super) fn note(&mut self, tried: &[RecipientIndex], outcome: HostOutcome, begun: Instant) {
        let HostOutcome {
            report,
            in_doubt,
            unsupported,
        } = outcome;
        self.settle_permanent_refusal();
        self.without_dsn.extend_from_slice(&report.without_dsn);
        self.record(&report, begun);
        self.in_doubt |= in_doubt;
        let unsupported: HashSet<_> = unsupported.into_iter().collect();
        let refused = report.refused.clone();
        if !refused.is_empty() {
            self.refusing = Some((self.count, report.clone()));
        }
        self.note_result(tried, report, in_doubt);
        let by_host = refused
            .into_iter()
            .filter(|refused| !unsupported.contains(&refused.recipient));
        self.replies
            .extend(by_host.map(|refused| (refused.recipient, refused.reply)));
        self.unsupported = Some(match self.unsupported.take() {
            None => unsupported,
            Some(before) => &before & &unsupported,
        });
        self.count += 1;
    }

    /// Notes the result for those of `tried` that were not refused one by one.
    fn note_result(&mut self, tried: &[RecipientIndex], report: AttemptReport, in_doubt: bool) {
        let refused: HashSet<_> = report.refused.iter().map(|refused| refused.recipient).collect();
        let others = tried.iter().filter(|recipient| !refused.contains(recipient));
        if matches!(report.result, AttemptResult::Accepted(_)) {
            for recipient in others {
                self.replies.remove(recipient);
                self.accepted.insert(*recipient);
            }
            self.accepting = Some((self.count, report));
        } else if report.result != AttemptResult::AllRefused {
            // A refusal of the message replaces the replies for its recipients. A session that only broke off does not: an earlier reply
            // says more.
            let replaces = in_doubt || matches!(report.result, AttemptResult::Refused { .. });
            if replaces {
                others.for_each(|recipient| drop(self.replies.remove(recipient)));
            }
            if replaces || self.ended.is_none() {
                self.ended = Some((self.count, report));
            }
        }
    }

    fn is_refused_permanently(&self) -> bool {
        self.ended.as_ref().is_some_and(is_permanent)
    }

    /// Sets the reply for the recipients that no host could be sent: a permanent one if all hosts were reached.
    fn refuse_unsupported(&mut self) {
        let unsupported = self.unsupported.take().unwrap_or_default();
        if unsupported.is_empty() || self.is_refused_permanently() {
            return;
        }
        let reply = if !self.in_doubt && self.passed.all_were_reached() {
            without_smtputf8()
        } else {
            let passed = self.passed.lines();
            let why = "no host was reached that offers SMTPUTF8, which this address needs";
            Reply::new(451, &format!("4.4.1 {why}; {passed}"))
        };
        for recipient in unsupported {
            if !self.accepted.contains(&recipient) {
                self.replies.entry(recipient).or_insert_with(|| reply.clone());
            }
        }
    }

    /// Sets the reply of a permanent refusal of the message for each recipient, before another host answers for those that are left.
    fn settle_permanent_refusal(&mut self) {
        if let Some((_, report)) = self.ended.take_if(|ended| is_permanent(ended)) {
            self.refuse_others(&report.result);
        }
    }

    /// Sets the reply for `result` for each recipient that has none and was not accepted.
    fn refuse_others(&mut self, result: &AttemptResult) {
        for recipient in &self.job.recipients {
            if !self.accepted.contains(recipient) && !self.replies.contains_key(recipient) {
                self.replies.insert(*recipient, reply_for(result));
            }
        }
    }

    fn record(&mut self, report: &AttemptReport, begun: Instant) {
        if self.hosts.len() <= MAX_RECORDED {
            let mut kept = report.clone();
            kept.refused.truncate(MAX_REFUSED);
            kept.refused.shrink_to_fit();
            kept.without_dsn = Vec::new();
            self.hosts.push(HostReport {
                number: self.count,
                after: begun.saturating_duration_since(self.begun),
                took: begun.elapsed(),
                report: kept,
            });
        }
    }

    /// The report of the attempt. The result is that of a host that accepted the message; otherwise what a host replied for the message or
    /// its recipients; otherwise why hosts were passed over.
    pub(super) fn report(mut self) -> AttemptReport {
        self.refuse_unsupported();
        let (decider, mut report) = self.decide();
        let refused = std::mem::take(&mut self.replies).into_iter();
        let refused = refused.map(|(recipient, reply)| RefusedRecipient { recipient, reply });
        report.without_dsn = std::mem::take(&mut self.without_dsn);
        let own = std::mem::replace(&mut report.refused, refused.collect());
        // Without any reply, the line about each host is in the result.
        if !matches!(
            report.result,
            AttemptResult::NoConnection { .. } | AttemptResult::NotBegun { .. }
        ) {
            let recorded = self.hosts.extract_if(.., |host| host.number == decider).next();
            self.hosts.truncate(MAX_RECORDED);
            if !self.hosts.is_empty() {
                report.own = recorded.map(|mut host| {
                    host.report.refused = own;
                    Box::new(host)
                });
            }
            report.before = self.hosts;
        }
        report
    }

    /// The host that decides the result, and its report.
    fn decide(&mut self) -> NumberedReport {
        let complete = self
            .job
            .recipients
            .iter()
            .all(|recipient| self.accepted.contains(recipient) || self.replies.contains_key(recipient));
        if let Some(accepting) = self.accepting.take() {
            let ended = self.ended.take().map(|(_, report)| report.result);
            self.refuse_others(&ended.unwrap_or(AttemptResult::AllRefused));
            accepting
        } else if complete && let Some((number, mut report)) = self.refusing.take() {
            report.result = AttemptResult::AllRefused;
            (number, report)
        } else if let Some(ended) = self.ended.take() {
            ended
        } else {
            std::mem::take(&mut self.passed).report()
        }
    }
}
