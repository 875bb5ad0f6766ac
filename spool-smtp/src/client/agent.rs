//! SmtpAgent: the spool's delivery agent for SMTP. Tries the next hops in order, on cached sessions where there are any.

use super::config::SmtpConfig;
use super::pool::Pool;
use super::session::ConnectError;
use super::transaction::{Outcome, transact};
use spool_core::{AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Job, NextHop, Reply, Stage};
use std::sync::Arc;

/// The most sessions tried for one attempt at one next hop: cached ones that turn out to be dead, then a new one.
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
        Self {
            pool: Pool::new(config.clone()),
            config: Arc::new(config),
        }
    }

    /// One attempt: the first next hop with which a session is had decides.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let mut failures = Vec::new();
        let mut refused = None;
        for hop in job.next_hops.iter() {
            match self.attempt_at(hop, &job).await {
                Ok(report) => return report,
                Err(ConnectError::Failed(error)) => failures.push(format!("{hop}: {error}")),
                Err(ConnectError::Refused { stage, reply }) => {
                    failures.push(format!("{hop}: {reply}"));
                    refused = Some((hop.clone(), stage, reply));
                }
            }
            tracing::debug!(id = %job.message, flow = ?job.flows, "passed over {}", failures.last().map_or("", String::as_str));
        }
        no_session(&job, &failures, refused)
    }

    async fn attempt_at(&self, hop: &NextHop, job: &Job) -> Result<AttemptReport, ConnectError> {
        for round in 1..=MAX_SESSIONS {
            let mut session = self.pool.session(hop, round == MAX_SESSIONS).await?;
            tracing::debug!(id = %job.message, flow = ?job.flows, session = %session.flow, peer = %hop, "sending");
            match transact(&mut session, job, &self.config).await {
                Outcome::Done {
                    report,
                    reusable: true,
                } => {
                    self.pool.park(session);
                    return Ok(report);
                }
                Outcome::Done {
                    report,
                    reusable: false,
                } => return Ok(report),
                Outcome::Stale(error) => tracing::debug!(peer = %hop, error, "a cached session had ended"),
            }
        }
        Err(ConnectError::Failed(
            "one session after the other had ended".to_owned(),
        ))
    }
}

fn no_session(job: &Job, failures: &[String], refused: Option<(NextHop, Stage, Reply)>) -> AttemptReport {
    let (peer, result) = match refused {
        Some((peer, stage, reply)) => (Some(peer), AttemptResult::Refused { stage, reply }),
        None => {
            let error = failures.join("; ");
            (
                job.next_hops.last().cloned(),
                AttemptResult::NoConnection { error },
            )
        }
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
