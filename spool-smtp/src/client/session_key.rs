//! The requirements of an attempt for its session. Attempts with the same requirements share sessions.

use super::config::SmtpConfig;
use super::credentials::Credentials;
use super::dane::Dane;
use super::resolve::Target;
use super::source_address::SourceAddress;
use spool_core::{Job, NextHop, TlsPolicy};
use std::sync::Arc;
use tokio::time::Instant;

/// The key of the cache of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) hop: NextHop,
    pub(super) tls: TlsPolicy,
    /// The certificates that DANE requires: a session that was opened with other records is not used.
    pub(super) dane: Option<Arc<Dane>>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) source: SourceAddress,
    /// The path for which its connections are counted: domains with the same path share sessions.
    pub(super) path: Arc<[NextHop]>,
}

/// A request for sessions with a host.
#[derive(Debug, Clone)]
pub(super) struct SessionRequest<'a> {
    pub(super) key: SessionKey,
    /// The most connections of the path.
    pub(super) limit: usize,
    pub(super) target: &'a Target,
    /// Until when the sessions may be used.
    pub(super) end: Instant,
}

impl<'a> SessionRequest<'a> {
    /// The request of an attempt for `job` at `target`, which ends at `end`.
    pub(super) fn new(target: &'a Target, job: &Job, config: &SmtpConfig, end: Instant) -> Self {
        let mut request = Self::to(target, &job.next_hops, &job.path, config, end);
        if job.envelope.parameters.requiretls {
            // The certificate is verified by DANE or by the trusted roots (RFC 8689 section 4.2.1).
            let by_dane = request.key.dane.as_ref().is_some_and(|dane| dane.authenticates());
            let least = if by_dane {
                TlsPolicy::Required
            } else {
                TlsPolicy::Verify
            };
            request.key.tls = request.key.tls.max(least);
        }
        request
    }

    /// The request for sessions with `target` for mail to `next_hops`, whose path is `path`, until `end`.
    pub(super) fn to(
        target: &'a Target,
        next_hops: &[NextHop],
        path: &Arc<[NextHop]>,
        config: &SmtpConfig,
        end: Instant,
    ) -> Self {
        let policy = config.policies.get(next_hops);
        let credentials = config.credentials.get(&target.hop);
        let needed = credentials
            .as_ref()
            .map_or(TlsPolicy::None, |credentials| credentials.security);
        let limit = config.policies.get(path).max_connections;
        let limit = limit.and_then(|most| usize::try_from(most.get()).ok());
        Self {
            key: SessionKey {
                hop: target.hop.clone(),
                tls: policy.tls.unwrap_or(config.tls).max(needed).max(target.tls),
                dane: target.dane.clone(),
                credentials,
                source: SourceAddress::choose(&config.source_addresses, next_hops),
                path: Arc::clone(path),
            },
            limit: limit.unwrap_or(config.connections_per_destination).max(1),
            target,
            end,
        }
    }
}

impl SessionKey {
    /// Whether plaintext is allowed after TLS has failed: not if the policy or the port requires TLS, or credentials are sent.
    pub(super) fn may_fall_back(&self, config: &SmtpConfig) -> bool {
        self.tls == TlsPolicy::Opportunistic
            && self.credentials.is_none()
            && !config.is_implicit_tls(&self.hop)
    }
}
