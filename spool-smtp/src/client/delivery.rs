//! The delivery of a message to one host: as many transactions as its recipients need, over one or more sessions.
//!
//! Each recipient is in at most one transaction that the peer answered. The report has the result for each.

use super::capabilities::Capabilities;
use super::chunking::CHUNKING_PAUSE;
use super::commands::{is_not_ascii, lacking, without_smtputf8};
use super::connect_error::ConnectError;
use super::envelope_replies::TransactionEnd;
use super::host_outcome::{HostOutcome, reply_for};
use super::plaintext::{defer_refused_in_plaintext, plaintext_refusal};
use super::pool::SessionPool;
use super::resolve::Target;
use super::session::Session;
use super::session_key::SessionRequest;
use super::transaction::{StaleSession, transact};
use spool_core::{AttemptReport, AttemptResult, Job, RecipientIndex, RefusedRecipient, Reply, Stage};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most consecutive sessions that may turn out to be dead before a host is given up: cached ones, then a new one.
const MAX_SESSIONS: usize = 3;

/// How often the host may break off among the recipients of a transaction. After each time, another session is tried with fewer
/// recipients.
const MOST_CUTS: u32 = 4;

/// For how long the most recipients of a host are kept. A connection that broke for another reason may look like a limit.
const LIMIT_MEMORY: Duration = Duration::from_secs(600);

/// The state of a delivery.
pub(super) struct Delivery<'a> {
    pool: &'a Arc<SessionPool>,
    target: &'a Target,
    job: &'a Job,
    /// The end of the attempt.
    end: Instant,
    /// When the first session was there.
    connected: Option<Instant>,
    /// The number of consecutive sessions that had ended before a transaction had an effect.
    dead: usize,
    /// The recipients without an answer.
    left: Vec<RecipientIndex>,
    /// The outcome for the others. Its result is `Accepted` once a transaction was accepted, and `AllRefused` before.
    outcome: HostOutcome,
    /// The most recipients of a transaction: as many as the peer accepted before it refused more, or broke off.
    most: usize,
    cuts: u32,
    /// The value of `most` before the host broke off right after the last recipient.
    before_last_cut: Option<usize>,
    /// The result of the last transaction that was cut short.
    broke_off: Option<AttemptResult>,
}

/// The outcome is complete, or no transaction had a result.
type Done = Result<(), ConnectError>;

impl<'a> Delivery<'a> {
    /// A delivery to the addresses of `target` for the recipients `open`, until `end`.
    pub(super) fn new(
        pool: &'a Arc<SessionPool>,
        target: &'a Target,
        job: &'a Job,
        open: Vec<RecipientIndex>,
        end: Instant,
    ) -> Self {
        Self {
            pool,
            target,
            job,
            end,
            connected: None,
            dead: 0,
            left: open,
            outcome: HostOutcome {
                report: AttemptReport::new(AttemptResult::AllRefused),
                in_doubt: false,
                unsupported: Vec::new(),
            },
            most: pool.recipients.get(&target.hop).unwrap_or(usize::MAX),
            cuts: 0,
            before_last_cut: None,
            broke_off: None,
        }
    }

    /// Delivers over as many sessions as necessary. With `fresh`, the first session is a new one.
    ///
    /// # Errors
    /// When no transaction had a result.
    pub(super) async fn run(mut self, fresh: bool) -> Result<HostOutcome, ConnectError> {
        self.send(fresh).await.map(|()| self.outcome)
    }

    async fn send(&mut self, mut fresh: bool) -> Done {
        if self.job.halt.is_set() {
            return Err(ConnectError::Withdrawn);
        }
        let request = SessionRequest::new(self.target, self.job, &self.pool.config, self.end);
        loop {
            let fresh = std::mem::take(&mut fresh) || self.dead + 1 >= MAX_SESSIONS;
            let session = match self.able_session(&request, fresh).await {
                Ok(session) => session,
                Err(error) => return self.give_up(error),
            };
            let (job, peer) = (self.job, &self.target.hop);
            tracing::debug!(id = %job.message, flow = ?job.flows, session = %session.flow, %peer, "sending");
            self.connected.get_or_insert_with(Instant::now);
            if let Some(done) = self.send_on(session).await {
                return done;
            }
        }
    }

    /// A session with a peer that offers the extensions that the message needs.
    async fn able_session(&self, request: &SessionRequest<'_>, fresh: bool) -> Result<Session, ConnectError> {
        let mut session = match self.pool.session(request, fresh).await {
            Ok(session) => session,
            Err(error) if self.job.envelope.parameters.requiretls => return Err(error.for_requiretls()),
            Err(error) => return Err(error),
        };
        let offers = &session.capabilities;
        if let Some(reply) = lacking(offers, self.job, &self.left) {
            self.pool.park(session);
            return Err(ConnectError::Unable(reply));
        }
        let offered = self.pool.config.chunking && offers.chunking && offers.pipelining;
        session.may_chunk = offered && self.pool.no_chunking.get(&self.target.hop).is_none();
        Ok(session)
    }

    /// Sends transactions on `session`; `None`: it carries no more, and there are recipients left for another one.
    async fn send_on(&mut self, mut session: Session) -> Option<Done> {
        let config = &self.pool.config;
        self.leave_out_unsupported(&session.capabilities);
        let mut fruitless = true;
        loop {
            if !self.may_begin().await {
                self.pool.park(session);
                return Some(self.give_up(ConnectError::Withdrawn));
            }
            let tried = self.next_recipients(&session.capabilities);
            let transaction = transact(&mut session, self.job, &tried, config).await;
            if let Some(reason) = session.chunking_failed.take() {
                let peer = &self.target.hop;
                tracing::info!(%peer, reason, "no BDAT for a while");
                self.pool.no_chunking.note(peer, reason, CHUNKING_PAUSE);
            }
            let end = match transaction {
                Ok(end) => end,
                Err(stale) => return self.ended(session, stale, fruitless),
            };
            let reusable = end.reusable;
            if !session.capabilities.dsn && matches!(end.result, AttemptResult::Accepted(_)) {
                self.note_without_dsn(&tried, &end);
            }
            let is_cut_short = self.is_cut_short(&end, tried.len());
            if !is_cut_short {
                let failed = self.settle(tried, end).err();
                if failed.is_some() || self.left.is_empty() {
                    self.complete(failed);
                    return Some(self.done(session, reusable));
                }
                fruitless = false;
            }
            if is_cut_short || session.is_spent(config) || !reusable {
                if reusable {
                    self.pool.park(session);
                }
                self.dead = 0;
                return None;
            }
        }
    }

    /// `session` cannot be used any more, and its last transaction had no effect; `fruitless`: none of them had.
    fn ended(&mut self, session: Session, stale: StaleSession, fruitless: bool) -> Option<Done> {
        let StaleSession { error, in_step } = stale;
        tracing::debug!(peer = %self.target.hop, error, "a session takes no more");
        if in_step {
            tokio::spawn(session.quit());
        }
        self.dead = if fruitless { self.dead + 1 } else { 0 };
        let given_up = self.dead == MAX_SESSIONS;
        let error = "one session after the other had ended";
        given_up.then(|| self.give_up(ConnectError::Failed(error.to_owned())))
    }

    /// Completes the report of a delivery that ended on `session`, which is kept if it is `reusable`. Recipients that were refused only
    /// because TLS had failed are tried again when TLS works.
    fn done(&mut self, session: Session, reusable: bool) -> Done {
        let report = &mut self.outcome.report;
        report.session = Some(session.flow);
        report.tls = session.protection.record();
        report.address = Some(session.address);
        report.transmission = self.connected.map(|connected| connected.elapsed());
        if let Some(reply) = plaintext_refusal(&session.protection, report) {
            self.pool.plaintext.forget(&self.target.hop);
            return Err(ConnectError::refused(Stage::Tls, reply));
        }
        if defer_refused_in_plaintext(&session.protection, report) {
            self.pool.plaintext.forget(&self.target.hop);
        } else if reusable {
            self.pool.park(session);
        }
        Ok(())
    }

    /// Leaves out the recipients whose addresses need SMTPUTF8 if the peer does not offer it.
    fn leave_out_unsupported(&mut self, offers: &Capabilities) {
        if !offers.smtputf8 {
            let out = self.left.extract_if(.., |index| is_not_ascii(self.job, *index));
            self.outcome.unsupported.extend(out);
        }
    }

    /// Notes that the host accepts at most `most` recipients in a transaction; at least one.
    fn limit(&mut self, most: usize) {
        let (peer, most) = (&self.target.hop, most.max(1));
        tracing::info!(%peer, most, "fewer recipients in a transaction for a while");
        self.pool.recipients.note(peer, most, LIMIT_MEMORY);
        self.most = most;
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
            self.limit(before);
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
        self.limit(fewer.min(tried - 1));
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
        let single = tried.len() == self.left.len() && postponed.is_empty() && !self.is_accepted();
        if !postponed.is_empty() {
            // The next transaction has no more, because peers count excess recipients as errors.
            self.limit(tried.len().saturating_sub(postponed.len() + refused.len()));
        }
        self.broke_off = None;
        self.before_last_cut = None;
        self.outcome.report.refused.extend(refused);
        if matches!(result, AttemptResult::Accepted(_)) {
            self.outcome.report.result = result;
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
        let without_dsn = &mut self.outcome.report.without_dsn;
        without_dsn.extend(tried.iter().copied().filter(wants));
    }

    fn is_accepted(&self) -> bool {
        matches!(self.outcome.report.result, AttemptResult::Accepted(_))
    }

    /// Sets `reply` for those of `recipients` that have none.
    fn refuse(&mut self, recipients: Vec<RecipientIndex>, reply: &Reply) {
        let refused = &mut self.outcome.report.refused;
        let known: HashSet<_> = refused.iter().map(|refused| refused.recipient).collect();
        let others = recipients.into_iter();
        let others = others.filter(|recipient| !known.contains(recipient));
        refused.extend(others.map(|recipient| RefusedRecipient {
            recipient,
            reply: reply.clone(),
        }));
    }

    /// Ends the delivery when there is no session for the recipients that are left.
    fn give_up(&mut self, error: ConnectError) -> Done {
        let broke_off = self.broke_off.take();
        if !self.is_accepted() && self.outcome.report.refused.is_empty() && broke_off.is_none() {
            return Err(error);
        }
        self.complete(Some(broke_off.unwrap_or_else(|| AttemptResult::NoConnection {
            error: error.to_string(),
        })));
        Ok(())
    }

    /// Completes the report, with the result `failed` for the recipients that are left. If others were accepted before, the reply for each
    /// is set to that result.
    fn complete(&mut self, failed: Option<AttemptResult>) {
        if let Some(result) = failed {
            self.outcome.in_doubt = matches!(result, AttemptResult::Broken { in_doubt: true, .. });
            if self.is_accepted() {
                let left = std::mem::take(&mut self.left);
                self.refuse(left, &reply_for(&result));
            } else {
                self.outcome.report.result = result;
            }
        }
        let HostOutcome {
            report, unsupported, ..
        } = &mut self.outcome;
        report.peer = Some(self.target.hop.clone());
        report
            .refused
            .extend(unsupported.iter().map(|recipient| RefusedRecipient {
                recipient: *recipient,
                reply: without_smtputf8(),
            }));
    }
}
