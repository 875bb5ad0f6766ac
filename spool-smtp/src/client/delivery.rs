//! The part of an attempt that is made at one host: as many transactions as its recipients need, over one session or several.
//!
//! Every recipient is in one transaction that the peer answered for, or in none; what is reported says for each which.

use super::attempt::Heard;
use super::capabilities::Capabilities;
use super::commands::{out_of_reach, recipient, without_smtputf8};
use super::config::SmtpConfig;
use super::session::Session;
use super::transaction::{Ended, Outcome, transact};
use spool_core::{AttemptReport, AttemptResult, Job, NextHop, RecipientIndex, RefusedRecipient, Reply};
use std::collections::HashSet;
use tokio::time::{Instant, timeout_at};

/// How often the host may break off among the recipients of a transaction before it is given up. Each time it is asked with
/// fewer, on another session.
const MOST_CUTS: u32 = 4;

/// What a host has said so far.
pub(super) struct Delivery<'a> {
    job: &'a Job,
    /// Of the attempt.
    end: Instant,
    /// Not yet in a transaction that was answered.
    left: Vec<RecipientIndex>,
    accepted: Option<Reply>,
    refused: Vec<RefusedRecipient>,
    /// Who wants to hear of success, and was taken over a session that does not offer DSN.
    without_dsn: Vec<RecipientIndex>,
    /// The most recipients that a transaction is to have: as many as the peer took before it said that it was enough, or broke off.
    enough: usize,
    /// Whether that is news.
    learned: bool,
    cuts: u32,
    /// What `enough` was before the host broke off once right after the last recipient.
    before_last_cut: Option<usize>,
    /// How the last transaction ended that was cut short.
    broke_off: Option<AttemptResult>,
    in_doubt: bool,
    /// The host is not asked for these: it lacks what their addresses need.
    out_of_reach: Vec<RecipientIndex>,
}

/// What a session brought.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once in a session, and taken apart at once"
)]
pub(super) enum Step {
    /// The end.
    Done { report: AttemptReport, reusable: bool },
    /// The session takes no more, and there are recipients left for another one.
    Spent { reusable: bool },
    /// The session is of no use any more, and nothing was acted on; whether something was sent on it before, and whether it may be
    /// ended with QUIT.
    Stale {
        error: String,
        fruitless: bool,
        in_step: bool,
    },
    /// Nothing may be sent any more; the session could take more.
    Withdrawn,
}

impl<'a> Delivery<'a> {
    /// To be asked for the recipients `open`, at most `enough` in a transaction, until `end`.
    pub(super) const fn new(job: &'a Job, open: Vec<RecipientIndex>, enough: usize, end: Instant) -> Self {
        Self {
            job,
            end,
            left: open,
            accepted: None,
            refused: Vec::new(),
            without_dsn: Vec::new(),
            enough,
            learned: false,
            cuts: 0,
            before_last_cut: None,
            broke_off: None,
            in_doubt: false,
            out_of_reach: Vec::new(),
        }
    }

    /// The recipients that the host has yet to answer for.
    pub(super) fn left(&self) -> &[RecipientIndex] {
        &self.left
    }

    /// What `report` says, with what it has no place for.
    pub(super) fn heard(&mut self, report: AttemptReport) -> Heard {
        Heard {
            report,
            in_doubt: self.in_doubt,
            out_of_reach: std::mem::take(&mut self.out_of_reach),
        }
    }

    /// Leaves out the recipients that a peer with these extensions cannot be given.
    fn leave_out(&mut self, session: &Session) {
        let out = out_of_reach(&session.capabilities, self.job, &self.left);
        if !out.is_empty() {
            let these: HashSet<_> = out.iter().copied().collect();
            self.left.retain(|recipient| !these.contains(recipient));
            self.out_of_reach.extend(out);
        }
    }

    /// How many recipients the host takes in a transaction, if that was learned since the last time it was asked for.
    pub(super) fn learned(&mut self) -> Option<usize> {
        std::mem::take(&mut self.learned).then_some(self.enough)
    }

    /// Sends on `session` what it takes.
    pub(super) async fn go_on(&mut self, session: &mut Session, config: &SmtpConfig) -> Step {
        self.leave_out(session);
        let mut fruitless = true;
        loop {
            if !self.may_begin().await {
                return Step::Withdrawn;
            }
            let now = self.next(&session.capabilities);
            let ended = match transact(session, self.job, &now, config).await {
                Outcome::Ended(ended) => ended,
                Outcome::Stale { error, in_step } => {
                    return Step::Stale {
                        error,
                        fruitless,
                        in_step,
                    };
                }
            };
            let reusable = ended.reusable;
            if !session.capabilities.dsn && matches!(ended.result, AttemptResult::Accepted(_)) {
                self.note_without_dsn(&now, &ended);
            }
            if self.is_cut_short(&ended, now.len()) {
                return Step::Spent { reusable };
            }
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

    /// Whether a transaction may begin: before the first one the start of the attempt is recorded.
    async fn may_begin(&self) -> bool {
        let Job { begin, halt, .. } = self.job;
        if halt.is_set() {
            return false;
        }
        let recorded = timeout_at(self.end, begin.record()).await;
        matches!(recorded, Ok(Ok(()))) && !halt.is_set()
    }

    /// The recipients of the next transaction: as many of those left as the host takes in one, by their number and by their
    /// domains (RFC 9422).
    fn next(&self, offers: &Capabilities) -> Vec<RecipientIndex> {
        let limit = |limit: Option<u32>| {
            limit
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(usize::MAX)
        };
        let (most, most_domains) = (limit(offers.rcpt_max), limit(offers.rcpt_domain_max));
        let mut domains = HashSet::new();
        let mut fits = |index: RecipientIndex| {
            let recipient = recipient(&self.job.envelope, index);
            domains.insert(recipient.map(|recipient| recipient.address.domain().to_ascii_lowercase()));
            domains.len() <= most_domains
        };
        let left = self.left.iter().copied().take(most.min(self.enough));
        match most_domains {
            usize::MAX => left.collect(),
            _ => left.take_while(|index| fits(*index)).collect(),
        }
    }

    /// Whether the host broke off among the recipients of a transaction of `tried`, and is asked again with fewer. After the last
    /// recipient it may have done so for another reason: one fewer is tried once, and the limit is what it was if that does not help.
    fn is_cut_short(&mut self, ended: &Ended, tried: usize) -> bool {
        let Some(answered) = ended.cut_after else {
            return false;
        };
        let after_the_last = answered >= tried;
        if after_the_last && let Some(before) = self.before_last_cut.take() {
            (self.enough, self.learned) = (before, true);
            return false;
        }
        if tried < 2 {
            return false;
        }
        if after_the_last {
            self.before_last_cut = Some(self.enough);
        }
        // Where no reply came through, the reset may have overtaken them.
        let fewer = if answered > 0 { answered } else { tried / 2 };
        self.enough = if fewer < tried { fewer } else { tried - 1 };
        self.learned = true;
        self.cuts += 1;
        self.broke_off = Some(ended.result.clone());
        answered > 0 && self.cuts <= MOST_CUTS
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

    /// Notes who was taken and wants to hear of it.
    fn note_without_dsn(&mut self, tried: &[RecipientIndex], ended: &Ended) {
        let refused = ended.refused.iter().map(|refused| refused.recipient);
        let others: HashSet<_> = refused.chain(ended.postponed.iter().copied()).collect();
        let wants = |index: &RecipientIndex| {
            let recipient = recipient(&self.job.envelope, *index);
            let notify = recipient.and_then(|recipient| recipient.notify);
            notify.is_some_and(|notify| notify.success) && !others.contains(index)
        };
        self.without_dsn.extend(tried.iter().copied().filter(wants));
    }

    /// Notes `reply` for those of `recipients` that have none.
    fn refuse(&mut self, recipients: Vec<RecipientIndex>, reply: &Reply) {
        let told: HashSet<_> = self.refused.iter().map(|refused| refused.recipient).collect();
        let unreported = recipients
            .into_iter()
            .filter(|recipient| !told.contains(recipient));
        self.refused.extend(unreported.map(|recipient| RefusedRecipient {
            recipient,
            reply: reply.clone(),
        }));
    }

    /// The report when there is no session for what is left, because of `error`; `None` when nothing was sent to anybody.
    pub(super) fn give_up(&mut self, hop: &NextHop, error: &str) -> Option<AttemptReport> {
        let broke_off = self.broke_off.take();
        if self.accepted.is_none() && self.refused.is_empty() && broke_off.is_none() {
            return None;
        }
        let result = broke_off.unwrap_or_else(|| AttemptResult::NoConnection {
            error: error.to_owned(),
        });
        let mut report = self.failed(result, None);
        report.peer = Some(hop.clone());
        Some(report)
    }

    /// The end with `result`, for whoever is left. One report has one result: when others were taken before, it is told of
    /// each.
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
        let out_of_reach = self.out_of_reach.iter();
        report
            .refused
            .extend(out_of_reach.map(|recipient| RefusedRecipient {
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

/// What is said of a recipient whose transaction ended so.
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
