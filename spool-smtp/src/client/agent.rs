//! SmtpAgent: the spool's delivery agent for SMTP. Tries the hosts of the next hops in order, on cached sessions where
//! there are any.

use super::commands::lacking;
use super::config::SmtpConfig;
use super::delivery::{Delivery, Step};
use super::key::Want;
use super::plaintext::no_mail_in_plaintext;
use super::pool::Pool;
use super::resolve::{DnsResolver, Resolve, Routes, Target};
use super::session::{ConnectError, Session};
use super::snapshot::PoolSnapshot;
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, DestinationPolicy, Job, NextHop, Reply, Stage,
};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The most sessions in a row that may turn out to be dead before an attempt at one next hop is given up: cached ones,
/// then a new one.
const MAX_SESSIONS: usize = 3;

/// Why nothing was sent once the spool had ended.
const HALTED: &str = "not tried: the spool has ended";

fn halted() -> ConnectError {
    ConnectError::Busy(HALTED.to_owned())
}

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
        let servers = &config.route.dns_servers;
        let resolver = match config.route.dane {
            true => DnsResolver::validating(servers, &config.route.trust_anchors),
            false => DnsResolver::new(servers),
        };
        Self::with_resolver(config, Arc::new(resolver))
    }

    /// An agent that asks `resolver` for hosts.
    #[must_use]
    pub fn with_resolver(config: SmtpConfig, resolver: Arc<dyn Resolve>) -> Self {
        let routes = Routes::new(resolver, &config);
        Self::over(config, Arc::new(routes))
    }

    pub(super) fn over(config: SmtpConfig, routes: Arc<Routes>) -> Self {
        let config = Arc::new(config.bounded());
        Self {
            pool: Pool::new(Arc::clone(&config), Arc::clone(&routes)),
            routes,
            config,
        }
    }

    /// The cache of sessions as it stands.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.pool.snapshot()
    }

    /// Opens up to `sessions` sessions for mail to `next_hops` before there is any, to the first host that takes one. They
    /// are kept for `idle_timeout`, and count for the limits as others do.
    ///
    /// # Errors
    /// In one line, why there are fewer than the limits allow.
    pub async fn warm(&self, next_hops: Arc<[NextHop]>, sessions: usize) -> Result<(), String> {
        let policy = self.config.policies.get(&next_hops);
        let mut failures = Vec::new();
        for hop in next_hops.iter() {
            let mut route = self.routes.to(hop, false).await;
            while let Some(target) = route.next().await {
                let target = match target {
                    Ok(target) => target,
                    Err(unroutable) => {
                        failures.push(format!("{hop}: {}", unroutable.reply(false)));
                        continue;
                    }
                };
                let want = Want::to(&target, &next_hops, policy, &self.config);
                match self.pool.warm(&want, &target, sessions).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failures.push(format!("{}: {error}", target.hop)),
                }
            }
        }
        Err(failures.join("; "))
    }

    /// One attempt: the first host with which a session is had, and that can take the message, decides.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let end = Instant::now() + self.config.attempt_timeout(job.body.len());
        let policy = self.config.policies.get(&job.next_hops);
        let mut passed = Passed::default();
        for hop in job.next_hops.iter() {
            let own = is_recipients_own(hop, &job);
            let late = || ConnectError::Failed("not tried: the attempt's time was over".to_owned());
            let mut note = |peer: NextHop, error| {
                let line = passed.note(peer, error);
                tracing::debug!(id = %job.message, flow = ?job.flows, "passed over {line}");
            };
            let Ok(mut route) = timeout_at(end, self.routes.to(hop, own)).await else {
                note(hop.clone(), late());
                continue;
            };
            loop {
                match timeout_at(end, route.next()).await {
                    Ok(None) => break,
                    Ok(Some(Ok(target))) if job.halt.is_set() => note(target.hop, halted()),
                    Ok(Some(Ok(target))) if Instant::now() < end => {
                        match self.attempt_at(&target, &job, policy, end).await {
                            Ok(report) => return report,
                            Err(error) => note(target.hop, error),
                        }
                    }
                    Ok(Some(Ok(target))) => note(target.hop, late()),
                    Ok(Some(Err(unroutable))) => {
                        let reply = unroutable.reply(own);
                        note(hop.clone(), ConnectError::refused(Stage::Route, reply));
                    }
                    Err(_) => {
                        note(hop.clone(), late());
                        break;
                    }
                }
            }
        }
        passed.report()
    }

    /// A session with a peer that offers what the message needs.
    async fn able_session(
        &self,
        want: &Want,
        target: &Target,
        job: &Job,
        fresh: bool,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let session = match self.pool.session(want, target, fresh, end).await {
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

    /// One attempt at one host, over as many sessions as its recipients need.
    async fn attempt_at(
        &self,
        target: &Target,
        job: &Job,
        policy: DestinationPolicy,
        end: Instant,
    ) -> Result<AttemptReport, ConnectError> {
        let hop = &target.hop;
        let want = Want::new(target, job, policy, &self.config);
        let mut delivery = Delivery::new(job);
        let mut dead = 0;
        loop {
            let fresh = dead + 1 >= MAX_SESSIONS;
            let mut session = match self.able_session(&want, target, job, fresh, end).await {
                Ok(session) => session,
                Err(error) => return delivery.give_up(hop, &error.to_string()).ok_or(error),
            };
            tracing::debug!(id = %job.message, flow = ?job.flows, session = %session.flow, peer = %hop, "sending");
            session.may_chunk = self.pool.may_chunk(&session);
            let step = delivery.go_on(&mut session, &self.config).await;
            if let Some(reason) = session.chunking_failed.take() {
                self.pool.shun_chunking(hop, &reason);
            }
            match step {
                Step::Done { report, reusable } => {
                    if let Some(reply) = no_mail_in_plaintext(&session.protection, &report) {
                        // Of the message it says nothing: it goes out when TLS works again.
                        self.pool.try_tls_again(hop);
                        return Err(ConnectError::refused(Stage::Tls, reply));
                    }
                    if reusable {
                        self.pool.park(session);
                    }
                    return Ok(report);
                }
                Step::Halted => {
                    self.pool.park(session);
                    return delivery.give_up(hop, HALTED).ok_or_else(halted);
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

/// Whether `hop` follows from the domain of the recipients alone: then what DNS says of it is said of them.
fn is_recipients_own(hop: &NextHop, job: &Job) -> bool {
    job.envelope
        .recipients
        .iter()
        .all(|recipient| NextHop::mx(recipient.address.domain(), hop.port()).is_ok_and(|own| own == *hop))
}

/// The hosts that were passed over, and why.
#[derive(Default)]
struct Passed {
    lines: Vec<String>,
    /// The last one tried.
    peer: Option<NextHop>,
    /// How the last host that said something ended it.
    said: Option<(NextHop, AttemptResult)>,
    /// The last host that cannot take such a message: final only if it is true of all.
    unable: Option<(NextHop, AttemptResult)>,
    /// What no host could be found for; a reason that may pass before one that stays.
    unrouted: Option<(NextHop, Reply)>,
    /// Whether a host was not reached.
    unreached: bool,
    /// The last host that was not tried, for want of a connection.
    busy: Option<NextHop>,
}

impl Passed {
    /// Takes one more, and gives its line.
    fn note(&mut self, peer: NextHop, error: ConnectError) -> &str {
        // A host that is an address is named by it already.
        let (name, error_text) = (peer.to_string(), error.to_string());
        self.lines.push(match error_text.starts_with(&name) {
            true => error_text,
            false => format!("{name}: {error_text}"),
        });
        self.peer = Some(peer.clone());
        match error {
            ConnectError::Failed(_) => self.unreached = true,
            ConnectError::Busy(_) => {
                self.unreached = true;
                self.busy = Some(peer);
            }
            ConnectError::Ended(AttemptResult::Refused {
                stage: Stage::Route,
                reply,
            }) => {
                let known = self.unrouted.as_ref();
                let passing = known.is_some_and(|(_, known)| !known.is_permanent());
                if !(passing && reply.is_permanent()) {
                    self.unrouted = Some((peer, reply));
                }
            }
            ConnectError::Ended(
                result @ AttemptResult::Refused {
                    stage: Stage::Mail, ..
                },
            ) => self.unable = Some((peer, result)),
            ConnectError::Ended(result) => self.said = Some((peer, result)),
        }
        self.lines.last().map_or("", String::as_str)
    }

    /// A host's own words come first. That none can take such a message, or what DNS says, may be the end of it: only where
    /// nothing else is the reason. Where one was not tried for want of a connection, and none said anything, it is no attempt.
    fn report(self) -> AttemptReport {
        let all_reached = !self.unreached;
        let unrouted = self.unrouted.map(|(peer, reply)| {
            let stage = Stage::Route;
            (peer, AttemptResult::Refused { stage, reply })
        });
        let nothing_passes = unrouted.as_ref().is_none_or(
            |(_, result)| matches!(result, AttemptResult::Refused { reply, .. } if reply.is_permanent()),
        );
        let unable = self.unable.filter(|_| all_reached && nothing_passes);
        let unrouted = unrouted.filter(|_| all_reached);
        let lines = self.lines.join("; ");
        let (peer, result) = match (self.said.or(unable).or(unrouted), self.busy) {
            (Some((peer, result)), _) => (Some(peer), result),
            (None, Some(busy)) => (Some(busy), AttemptResult::NotBegun { reason: lines }),
            (None, None) => (self.peer, AttemptResult::NoConnection { error: lines }),
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
