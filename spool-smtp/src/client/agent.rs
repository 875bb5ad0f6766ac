//! SmtpAgent: the delivery agent for SMTP. It tries the hosts of the next hops in order, over cached sessions if there are any.

use super::attempt_progress::AttemptProgress;
use super::commands::lacking;
use super::config::SmtpConfig;
use super::connect::addresses;
use super::connect_error::ConnectError;
use super::delivery::{Delivery, SessionOutcome};
use super::host_outcome::HostOutcome;
use super::plaintext::{defer_refused_in_plaintext, plaintext_refusal};
use super::pool::SessionPool;
use super::resolve::{DnsResolver, Resolve, Routes, Target};
use super::session::Session;
use super::session_key::SessionRequest;
use super::snapshot::PoolSnapshot;
use spool_core::{AttemptReport, BoxFuture, DeliveryAgent, Job, NextHop, PathLookup, RecipientIndex, Stage};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The most consecutive sessions that may turn out to be dead before a host is given up: cached ones, then a new one.
const MAX_SESSIONS: usize = 3;

/// The most addresses of one host that are tried in an attempt after a session was opened.
const MOST_ADDRESSES: usize = 3;

/// Delivers over SMTP. Clones share the cache of sessions.
#[derive(Clone)]
pub struct SmtpAgent {
    pool: Arc<SessionPool>,
    routes: Arc<Routes>,
    config: Arc<SmtpConfig>,
}

impl SmtpAgent {
    /// An agent that finds hosts by DNS, as [`RouteConfig`](super::RouteConfig) says. Opens no connection yet.
    #[must_use]
    pub fn new(config: SmtpConfig) -> Self {
        let resolver = DnsResolver::from_config(&config.route, config.connect_timeout);
        Self::with_resolver(config, Arc::new(resolver))
    }

    /// An agent that finds hosts with `resolver`.
    #[must_use]
    pub fn with_resolver(config: SmtpConfig, resolver: Arc<dyn Resolve>) -> Self {
        let routes = Routes::new(resolver, &config);
        Self::over(config, Arc::new(routes))
    }

    pub(super) fn over(config: SmtpConfig, routes: Arc<Routes>) -> Self {
        let config = Arc::new(config.bounded());
        Self {
            pool: SessionPool::new(Arc::clone(&config), Arc::clone(&routes)),
            routes,
            config,
        }
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The current state of the cache of sessions.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.pool.snapshot()
    }

    /// Opens up to `sessions` sessions for mail to `next_hops` in advance, to the first host that accepts one. They are kept for
    /// `idle_timeout`, and count towards the limits.
    ///
    /// # Errors
    /// In one line, why there are fewer sessions than the limits allow.
    pub async fn warm(&self, next_hops: Arc<[NextHop]>, sessions: usize) -> Result<(), String> {
        let path = match self.path(&next_hops) {
            PathLookup::Known(path) => path,
            PathLookup::Lookup(path) => path.await,
        };
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
                let request = SessionRequest::to(&target, &next_hops, &path, &self.config);
                match self.pool.warm(&request, &target, sessions).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failures.push(format!("{}: {error}", target.hop)),
                }
            }
        }
        Err(failures.join("; "))
    }

    /// One attempt: tries the hosts in order, until no recipient is open.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let end = Instant::now() + self.config.attempt_timeout(job.body.len());
        let mut attempt = AttemptProgress::new(&job);
        for hop in job.next_hops.iter() {
            let own = is_recipients_own(hop, &job);
            let Ok(mut route) = timeout_at(end, self.routes.to(hop, own)).await else {
                pass(&mut attempt, &job, hop.clone(), too_late(), Instant::now());
                continue;
            };
            loop {
                let begun = Instant::now();
                let target = match timeout_at(end, route.next()).await {
                    Ok(None) => break,
                    Ok(Some(Ok(target))) => target,
                    Ok(Some(Err(unroutable))) => {
                        let error = ConnectError::refused(Stage::Route, unroutable.reply(own));
                        pass(&mut attempt, &job, hop.clone(), error, begun);
                        continue;
                    }
                    Err(_) => {
                        pass(&mut attempt, &job, hop.clone(), too_late(), begun);
                        break;
                    }
                };
                if Instant::now() >= end {
                    pass(&mut attempt, &job, target.hop, too_late(), begun);
                    continue;
                }
                self.attempt_host(target, &mut attempt, end).await;
                if attempt.open().is_empty() {
                    return attempt.report();
                }
            }
        }
        attempt.report()
    }

    /// Tries one host: if one of its addresses does not accept the message now, another one is tried for the recipients that are still open
    /// (RFC 5321 section 5.1).
    async fn attempt_host(&self, mut target: Target, attempt: &mut AttemptProgress<'_>, end: Instant) {
        let job = attempt.job();
        for nth in 0..MOST_ADDRESSES {
            let open = attempt.open();
            let begun = Instant::now();
            let failed = match self.deliver_to(&target, job, &open, nth > 0, end).await {
                Ok(outcome) => {
                    let address = outcome.report.address;
                    let failed = address.filter(|_| outcome.may_depend_on_the_address());
                    attempt.note(&open, outcome, begun);
                    failed
                }
                Err(error) => {
                    pass(attempt, job, target.hop.clone(), error, begun);
                    None
                }
            };
            let Some(failed) = failed.filter(|_| !attempt.open().is_empty() && !job.halt.is_set()) else {
                return;
            };
            let known = timeout_at(end, addresses(&target, &self.routes)).await;
            let known = known.ok().and_then(Result::ok).unwrap_or_default();
            let others = known.iter().map(SocketAddr::ip).filter(|ip| *ip != failed);
            let others: Vec<IpAddr> = others.collect();
            if others.is_empty() {
                return;
            }
            target.addresses = Some(others);
        }
    }

    /// A session with a peer that offers the extensions that the message needs.
    async fn able_session(
        &self,
        request: &SessionRequest,
        target: &Target,
        job: &Job,
        open: &[RecipientIndex],
        fresh: bool,
        end: Instant,
    ) -> Result<Session, ConnectError> {
        let mut session = match self.pool.session(request, target, fresh, end).await {
            Ok(session) => session,
            Err(error) if job.envelope.parameters.requiretls => return Err(error.for_requiretls()),
            Err(error) => return Err(error),
        };
        match lacking(&session.capabilities, job, open) {
            None => {
                session.may_chunk = self.pool.may_chunk(&session);
                Ok(session)
            }
            Some(reply) => {
                self.pool.park(session);
                Err(ConnectError::Unable(reply))
            }
        }
    }

    /// Delivers to the addresses of `target`, for the recipients `open`, over as many sessions as necessary. With `fresh`, the first
    /// session is a new one.
    async fn deliver_to(
        &self,
        target: &Target,
        job: &Job,
        open: &[RecipientIndex],
        mut fresh: bool,
        end: Instant,
    ) -> Result<HostOutcome, ConnectError> {
        if job.halt.is_set() {
            return Err(ConnectError::Withdrawn);
        }
        let hop = &target.hop;
        let request = SessionRequest::new(target, job, &self.config);
        let mut delivery = Delivery::new(job, open.to_vec(), self.pool.most_recipients(hop), end);
        let mut dead = 0;
        let mut connected = None;
        loop {
            let fresh = std::mem::take(&mut fresh) || dead + 1 >= MAX_SESSIONS;
            let session = self.able_session(&request, target, job, delivery.left(), fresh, end);
            let mut session = match session.await {
                Ok(session) => session,
                Err(error) => return delivery.give_up(hop, error),
            };
            tracing::debug!(id = %job.message, flow = ?job.flows, session = %session.flow, peer = %hop, "sending");
            let connected = *connected.get_or_insert_with(Instant::now);
            let outcome = delivery.send_on(&mut session, &self.config).await;
            self.learn(hop, &mut session, &mut delivery);
            match outcome {
                SessionOutcome::Done { mut report, reusable } => {
                    report.transmission = Some(connected.elapsed());
                    return Ok(delivery.outcome(self.done(session, report, reusable)?));
                }
                SessionOutcome::Withdrawn => {
                    self.pool.park(session);
                    return delivery.give_up(hop, ConnectError::Withdrawn);
                }
                SessionOutcome::Spent { reusable } => {
                    if reusable {
                        self.pool.park(session);
                    }
                    dead = 0;
                }
                SessionOutcome::Stale {
                    error,
                    fruitless,
                    in_step,
                } => {
                    tracing::debug!(peer = %hop, error, "a session takes no more");
                    if in_step {
                        self.pool.discard(session);
                    }
                    dead = if fruitless { dead + 1 } else { 0 };
                    if dead == MAX_SESSIONS {
                        let error = "one session after the other had ended".to_owned();
                        return delivery.give_up(hop, ConnectError::Failed(error));
                    }
                }
            }
        }
    }

    /// Whether the policy of `next_hops` differs from the default policy.
    fn has_own_policy(&self, next_hops: &[NextHop]) -> bool {
        self.config.policies.get(next_hops) != self.config.policies.get(&[])
    }

    /// The report of a delivery; its session is kept if it is `reusable`. Recipients that were refused only because TLS had failed are
    /// tried again when TLS works.
    fn done(
        &self,
        session: Session,
        mut report: AttemptReport,
        reusable: bool,
    ) -> Result<AttemptReport, ConnectError> {
        let hop = &session.key.hop;
        if let Some(reply) = plaintext_refusal(&session.protection, &report) {
            self.pool.try_tls_again(hop);
            return Err(ConnectError::refused(Stage::Tls, reply));
        }
        if defer_refused_in_plaintext(&session.protection, &mut report) {
            self.pool.try_tls_again(hop);
        } else if reusable {
            self.pool.park(session);
        }
        Ok(report)
    }

    /// Stores what a delivery has shown about its host.
    fn learn(&self, hop: &NextHop, session: &mut Session, delivery: &mut Delivery<'_>) {
        if let Some(reason) = session.chunking_failed.take() {
            self.pool.avoid_chunking(hop, &reason);
        }
        if let Some(most) = delivery.learned_limit() {
            self.pool.limit_recipients(hop, most);
        }
    }
}

fn too_late() -> ConnectError {
    ConnectError::Failed("not tried: the attempt's time was over".to_owned())
}

fn pass(attempt: &mut AttemptProgress<'_>, job: &Job, peer: NextHop, error: ConnectError, begun: Instant) {
    let line = attempt.pass(peer, error, begun);
    tracing::debug!(id = %job.message, flow = ?job.flows, "passed over {line}");
}

/// Whether `hop` is the domain of all recipients: then an error in its DNS is an error of their addresses.
fn is_recipients_own(hop: &NextHop, job: &Job) -> bool {
    job.envelope
        .recipients
        .iter()
        .all(|recipient| NextHop::mx(recipient.address.domain(), hop.port()).is_ok_and(|own| own == *hop))
}

impl DeliveryAgent for SmtpAgent {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let agent = self.clone();
        Box::pin(async move { agent.attempt(job).await })
    }

    /// The hosts of `next_hops`, or `next_hops` themselves if they have a policy of their own.
    fn path(&self, next_hops: &Arc<[NextHop]>) -> PathLookup {
        let hops = Arc::clone(next_hops);
        if !hops.iter().any(NextHop::is_mx) || self.has_own_policy(&hops) {
            return PathLookup::Known(hops);
        }
        let routes = Arc::clone(&self.routes);
        PathLookup::Lookup(Box::pin(async move { routes.path(&hops).await }))
    }

    fn close(&self) -> BoxFuture<()> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.close().await })
    }
}
