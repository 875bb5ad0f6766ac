//! SmtpAgent: the spool's delivery agent for SMTP. Tries the next hops in order, on cached sessions where there are any.

use super::commands::lacking;
use super::config::SmtpConfig;
use super::delivery::{Delivery, Step};
use super::key::Want;
use super::pool::Pool;
use super::session::{ConnectError, Session};
use super::snapshot::PoolSnapshot;
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, DestinationPolicy, Job, NextHop, Stage,
};
use std::sync::Arc;
use tokio::time::Instant;

/// The most sessions in a row that may turn out to be dead before an attempt at one next hop is given up: cached ones,
/// then a new one.
const MAX_SESSIONS: usize = 3;

/// Delivers over SMTP. Cloning shares the cache of sessions.
#[derive(Clone)]
pub struct SmtpAgent {
    pool: Arc<Pool>,
    config: Arc<SmtpConfig>,
}

impl SmtpAgent {
    /// An agent with these limits. Opens nothing yet.
    #[must_use]
    pub fn new(config: SmtpConfig) -> Self {
        let config = Arc::new(config);
        Self {
            pool: Pool::new(Arc::clone(&config)),
            config,
        }
    }

    /// The cache of sessions as it stands.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.pool.snapshot()
    }

    /// Opens up to `sessions` sessions for mail to `next_hops` before there is any, to the first hop that takes one. They
    /// are kept for `idle_timeout`, and count for the limits as others do.
    ///
    /// # Errors
    /// In one line, why there are fewer than the limits allow.
    pub async fn warm(&self, next_hops: Arc<[NextHop]>, sessions: usize) -> Result<(), String> {
        let policy = self.config.policies.get(&next_hops);
        let mut failures = Vec::new();
        for hop in next_hops.iter() {
            let want = Want::to(hop, &next_hops, policy, &self.config);
            match self.pool.warm(&want, sessions).await {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{hop}: {error}")),
            }
        }
        Err(failures.join("; "))
    }

    /// One attempt: the first next hop with which a session is had, and that can take the message, decides.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let end = Instant::now() + self.config.attempt_timeout(job.body.len());
        let policy = self.config.policies.get(&job.next_hops);
        let mut passed = Vec::new();
        for hop in job.next_hops.iter() {
            let attempt = match Instant::now() < end {
                true => self.attempt_at(hop, &job, policy, end).await,
                false => Err(ConnectError::Failed(
                    "not tried: the attempt's time was over".to_owned(),
                )),
            };
            let error = match attempt {
                Ok(report) => return report,
                Err(error) => error,
            };
            tracing::debug!(id = %job.message, flow = ?job.flows, "passed over {hop}: {error}");
            passed.push((hop.clone(), error));
        }
        no_session(passed)
    }

    /// A session with a peer that offers what the message needs.
    async fn able_session(
        &self,
        want: &Want,
        job: &Job,
        fresh: bool,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let session = match self.pool.session(want, fresh, end).await {
            Ok(session) => session,
            Err(error) if job.envelope.parameters.requiretls => return Err(error.for_requiretls()),
            Err(error) => return Err(error),
        };
        match lacking(&session.capabilities, job) {
            None => Ok(session),
            Some(reply) => {
                self.pool.park(session);
                Err(ConnectError::refused(Stage::Mail, reply))
            }
        }
    }

    /// One attempt at one next hop, over as many sessions as its recipients need.
    async fn attempt_at(
        &self,
        hop: &NextHop,
        job: &Job,
        policy: DestinationPolicy,
        end: Instant,
    ) -> Result<AttemptReport, ConnectError> {
        let want = Want::new(hop, job, policy, &self.config);
        let mut delivery = Delivery::new(job);
        let mut dead = 0;
        loop {
            let fresh = dead + 1 >= MAX_SESSIONS;
            let mut session = match self.able_session(&want, job, fresh, end).await {
                Ok(session) => session,
                Err(error) => return delivery.give_up(hop, &error.to_string()).ok_or(error),
            };
            tracing::debug!(id = %job.message, flow = ?job.flows, session = %session.flow, peer = %hop, "sending");
            match delivery.go_on(&mut session, &self.config).await {
                Step::Done { report, reusable } => {
                    if reusable {
                        self.pool.park(session);
                    }
                    return Ok(report);
                }
                Step::Spent { reusable } => {
                    if reusable {
                        self.pool.park(session);
                    }
                    dead = 0;
                }
                Step::Stale { error, fruitless } => {
                    tracing::debug!(peer = %hop, error, "a cached session had ended");
                    dead = if fruitless { dead + 1 } else { 0 };
                    if dead == MAX_SESSIONS {
                        let error = "one session after the other had ended";
                        let failed = ConnectError::Failed(error.to_owned());
                        return delivery.give_up(hop, error).ok_or(failed);
                    }
                }
            }
        }
    }
}

/// The report when no hop took it. What a peer said counts more than that another was not reached; but that a peer cannot
/// take such a message is final only if it is true of all.
fn no_session(passed: Vec<(NextHop, ConnectError)>) -> AttemptReport {
    let all: Vec<_> = passed
        .iter()
        .map(|(hop, error)| format!("{hop}: {error}"))
        .collect();
    let lacks = |result: &AttemptResult| {
        matches!(
            result,
            AttemptResult::Refused {
                stage: Stage::Mail,
                ..
            }
        )
    };
    let (mut peer, mut said, mut unable) = (None, None, None);
    let mut reached_all = true;
    for (hop, error) in passed {
        match error {
            ConnectError::Failed(_) => reached_all = false,
            ConnectError::Ended(result) if lacks(&result) => unable = Some((hop.clone(), result)),
            ConnectError::Ended(result) => said = Some((hop.clone(), result)),
        }
        peer = Some(hop);
    }
    let (peer, result) = match said.or(unable.filter(|_| reached_all)) {
        Some((hop, result)) => (Some(hop), result),
        None => (
            peer,
            AttemptResult::NoConnection {
                error: all.join("; "),
            },
        ),
    };
    let mut report = AttemptReport::new(result);
    report.peer = peer;
    report
}

impl DeliveryAgent for SmtpAgent {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let agent = self.clone();
        Box::pin(async move { agent.attempt(job).await })
    }

    fn close(&self) -> BoxFuture<()> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.close().await })
    }
}
