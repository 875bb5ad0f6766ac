//! SmtpAgent: the spool's delivery agent for SMTP. Tries the hosts of the next hops in order, on cached sessions where
//! there are any.

use super::config::SmtpConfig;
use super::pool::Pool;
use super::resolve::{DnsResolver, Resolve, Routes, Target};
use super::session::ConnectError;
use super::transaction::{Outcome, transact};
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Job, NextHop, Reply, Stage, TlsPolicy,
};
use std::sync::Arc;

/// The most sessions tried for one attempt at one next hop: cached ones that turn out to be dead, then a new one.
const MAX_SESSIONS: usize = 3;

/// Delivers over SMTP. Cloning shares the cache of sessions.
#[derive(Clone)]
pub struct SmtpAgent {
    pool: Arc<Pool>,
    routes: Arc<Routes>,
    config: Arc<SmtpConfig>,
}

impl SmtpAgent {
    /// An agent with these limits, which finds hosts by DNS as [`RouteConfig`](super::RouteConfig) says. Opens nothing yet.
    #[must_use]
    pub fn new(config: SmtpConfig) -> Self {
        let resolver = DnsResolver::new(&config.route.dns_servers);
        Self::with_resolver(config, Arc::new(resolver))
    }

    /// An agent that asks `resolver` for hosts.
    #[must_use]
    pub fn with_resolver(config: SmtpConfig, resolver: Arc<dyn Resolve>) -> Self {
        let (route, hostname) = (config.route.clone(), config.hostname.clone());
        let routes = Routes::new(resolver, route, hostname, config.connect_timeout);
        Self::over(config, Arc::new(routes))
    }

    pub(super) fn over(config: SmtpConfig, routes: Arc<Routes>) -> Self {
        Self {
            pool: Pool::new(config.clone(), Arc::clone(&routes)),
            routes,
            config: Arc::new(config),
        }
    }

    /// One attempt: the first host with which a session is had decides.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let mut failures = Failures::default();
        for hop in job.next_hops.iter() {
            let own = is_recipients_own(hop, &job);
            let mut route = self.routes.to(hop, own).await;
            while let Some(target) = route.next().await {
                let (peer, error) = match target {
                    Ok(target) => match self.attempt_at(&target, &job).await {
                        Ok(report) => return report,
                        Err(error) => (target.hop, error),
                    },
                    Err(unroutable) => {
                        let (stage, reply) = (Stage::Route, unroutable.reply(own));
                        (hop.clone(), ConnectError::Refused { stage, reply })
                    }
                };
                let line = failures.note(peer, error);
                tracing::debug!(id = %job.message, flow = ?job.flows, "passed over {line}");
            }
        }
        failures.report()
    }

    async fn attempt_at(&self, target: &Target, job: &Job) -> Result<AttemptReport, ConnectError> {
        let hop = &target.hop;
        // Before any session, one that is kept as well: it may belong to a domain that asks for less.
        if target.tls > TlsPolicy::Opportunistic {
            let error = "the domain's MTA-STS policy asks for verified TLS, which is not there yet";
            return Err(ConnectError::Failed(error.to_owned()));
        }
        for round in 1..=MAX_SESSIONS {
            let mut session = self.pool.session(target, round == MAX_SESSIONS).await?;
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

/// Whether `hop` follows from the domain of the recipients alone: then what DNS says of it is said of them.
fn is_recipients_own(hop: &NextHop, job: &Job) -> bool {
    job.envelope
        .recipients
        .iter()
        .all(|recipient| NextHop::mx(recipient.address.domain(), hop.port()).is_ok_and(|own| own == *hop))
}

/// Why there was no session, host by host.
#[derive(Default)]
struct Failures {
    lines: Vec<String>,
    /// The last one tried.
    peer: Option<NextHop>,
    /// The last host that said no.
    refused: Option<(NextHop, Stage, Reply)>,
    /// Whether a host was not reached.
    unreached: bool,
    /// What no host could be found for; a reason that may pass before one that stays.
    unrouted: Option<(NextHop, Reply)>,
}

impl Failures {
    /// Takes one more, and gives its line.
    fn note(&mut self, peer: NextHop, error: ConnectError) -> &str {
        self.lines.push(match &error {
            ConnectError::Failed(error) => format!("{peer}: {error}"),
            ConnectError::Refused { reply, .. } => format!("{peer}: {reply}"),
        });
        self.peer = Some(peer.clone());
        match error {
            ConnectError::Failed(_) => self.unreached = true,
            ConnectError::Refused {
                stage: Stage::Route,
                reply,
            } => {
                let passing = self
                    .unrouted
                    .as_ref()
                    .is_some_and(|(_, reply)| !reply.is_permanent());
                if !(passing && reply.is_permanent()) {
                    self.unrouted = Some((peer, reply));
                }
            }
            ConnectError::Refused { stage, reply } => self.refused = Some((peer, stage, reply)),
        }
        self.lines.last().map_or("", String::as_str)
    }

    /// A host's own words come first. What DNS says may be the end of a message: only where nothing else is the reason.
    fn report(self) -> AttemptReport {
        let (peer, result) = match (self.refused, self.unrouted) {
            (Some((peer, stage, reply)), _) => (Some(peer), AttemptResult::Refused { stage, reply }),
            (None, Some((peer, reply))) if !self.unreached => {
                let stage = Stage::Route;
                (Some(peer), AttemptResult::Refused { stage, reply })
            }
            (None, Some(_) | None) => {
                let error = self.lines.join("; ");
                (self.peer, AttemptResult::NoConnection { error })
            }
        };
        let mut report = AttemptReport::new(result);
        report.peer = peer;
        report
    }
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
