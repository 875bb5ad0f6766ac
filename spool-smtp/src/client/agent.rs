//! SmtpAgent: the delivery agent for SMTP. It tries the hosts of the next hops in order, over cached sessions if there are any.

use super::attempt_progress::AttemptProgress;
use super::config::SmtpConfig;
use super::connect::addresses;
use super::connect_error::ConnectError;
use super::delivery::Delivery;
use super::pool::SessionPool;
use super::resolve::{DnsResolver, Resolve, Routes, Target};
use super::session_key::SessionRequest;
use super::snapshot::PoolSnapshot;
use crate::deadline::from_now;
use spool_core::{AttemptReport, BoxFuture, DeliveryAgent, Job, NextHop, PathLookup, Stage};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The most addresses of one host that are tried in an attempt after a session was opened.
const MOST_ADDRESSES: usize = 3;

/// Delivers over SMTP. Clones share the cache of sessions.
#[derive(Clone)]
pub struct SmtpAgent {
    pub(super) pool: Arc<SessionPool>,
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
        Self::over(config, routes)
    }

    pub(super) fn over(config: SmtpConfig, routes: Routes) -> Self {
        let pool = SessionPool::new(config, routes);
        Self { pool }
    }

    /// The current state of the cache of sessions.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.pool.ledger.snapshot()
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
            let mut route = self.pool.routes.to(hop, false).await;
            while let Some(target) = route.next().await {
                let target = match target {
                    Ok(target) => target,
                    Err(unroutable) => {
                        failures.push(format!("{hop}: {}", unroutable.reply(false)));
                        continue;
                    }
                };
                let end = from_now(self.pool.config.attempt_timeout);
                let request = SessionRequest::to(&target, &next_hops, &path, &self.pool.config, end);
                match self.pool.warm(&request, sessions).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failures.push(format!("{}: {error}", target.hop)),
                }
            }
        }
        Err(failures.join("; "))
    }

    /// One attempt: tries the hosts in order, until no recipient is open.
    async fn attempt(&self, job: Job) -> AttemptReport {
        let end = from_now(self.pool.config.attempt_timeout(job.body.len()));
        let mut attempt = AttemptProgress::new(&job);
        for hop in job.next_hops.iter() {
            let own = is_recipients_own(hop, &job);
            let Ok(mut route) = timeout_at(end, self.pool.routes.to(hop, own)).await else {
                attempt.pass(hop.clone(), &too_late(), Instant::now());
                continue;
            };
            loop {
                let begun = Instant::now();
                let target = match timeout_at(end, route.next()).await {
                    Ok(None) => break,
                    Ok(Some(Ok(target))) => target,
                    Ok(Some(Err(unroutable))) => {
                        let error = ConnectError::refused(Stage::Route, unroutable.reply(own));
                        attempt.pass(hop.clone(), &error, begun);
                        continue;
                    }
                    Err(_) => {
                        attempt.pass(hop.clone(), &too_late(), begun);
                        break;
                    }
                };
                if Instant::now() >= end {
                    attempt.pass(target.hop, &too_late(), begun);
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
        let job = attempt.job;
        for nth in 0..MOST_ADDRESSES {
            let open = attempt.open();
            let begun = Instant::now();
            let delivery = Delivery::new(&self.pool, &target, job, open.clone(), end);
            let failed = match delivery.run(nth > 0).await {
                Ok(outcome) => {
                    let address = outcome.report.address;
                    let failed = address.filter(|_| outcome.may_depend_on_the_address());
                    attempt.note(&open, outcome, begun);
                    failed
                }
                Err(error) => {
                    attempt.pass(target.hop.clone(), &error, begun);
                    None
                }
            };
            let Some(failed) = failed.filter(|_| !attempt.open().is_empty() && !job.halt.is_set()) else {
                return;
            };
            let known = timeout_at(end, addresses(&target, &self.pool.routes)).await;
            let known = known.ok().and_then(Result::ok).unwrap_or_default();
            let others = known.iter().map(SocketAddr::ip).filter(|ip| *ip != failed);
            let others: Vec<IpAddr> = others.collect();
            if others.is_empty() {
                return;
            }
            target.addresses = Some(others);
        }
    }
}

fn too_late() -> ConnectError {
    ConnectError::Failed("not tried: the attempt's time was over".to_owned())
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
        let policies = &self.pool.config.policies;
        if !hops.iter().any(NextHop::is_mx) || policies.get(&hops) != policies.get(&[]) {
            return PathLookup::Known(hops);
        }
        let pool = Arc::clone(&self.pool);
        PathLookup::Lookup(Box::pin(async move { pool.routes.path(&hops).await }))
    }

    fn close(&self) -> BoxFuture<()> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.close().await })
    }
}
