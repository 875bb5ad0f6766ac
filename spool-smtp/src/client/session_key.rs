//! What a session must be like to serve an attempt. Attempts that ask for the same share the sessions.

use super::config::SmtpConfig;
use super::credentials::Credentials;
use super::dane::Dane;
use super::resolve::Target;
use super::source_address::SourceAddress;
use spool_core::{Job, NextHop, TlsPolicy};
use std::sync::Arc;

/// What sessions are cached by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) hop: NextHop,
    pub(super) tls: TlsPolicy,
    /// The certificates that DANE asks for: a session that was opened under other records is another one.
    pub(super) dane: Option<Arc<Dane>>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) source: SourceAddress,
    /// What its connections are counted by: the domains of one path share their sessions.
    pub(super) path: Arc<[NextHop]>,
}

/// A key, and how many connections its path may have.
#[derive(Debug, Clone)]
pub(super) struct SessionRequest {
    pub(super) key: SessionKey,
    pub(super) limit: usize,
}

impl SessionRequest {
    /// For an attempt at `job` by way of `target`.
    pub(super) fn new(target: &Target, job: &Job, config: &SmtpConfig) -> Self {
        let mut want = Self::to(target, &job.next_hops, &job.path, config);
        if job.envelope.parameters.requiretls {
            // RFC 8689 section 4.2.1: by DANE, or by the trusted roots.
            let by_dane = want.key.dane.as_ref().is_some_and(|dane| dane.authenticates());
            let least = if by_dane {
                TlsPolicy::Required
            } else {
                TlsPolicy::Verify
            };
            want.key.tls = want.key.tls.max(least);
        }
        want
    }

    /// For sessions to `target` as mail for `next_hops` has them, which goes by `path`.
    pub(super) fn to(
        target: &Target,
        next_hops: &[NextHop],
        path: &Arc<[NextHop]>,
        config: &SmtpConfig,
    ) -> Self {
        let policy = config.policies.get(next_hops);
        let credentials = config.credentials.get(&target.hop);
        let needed = credentials
            .as_ref()
            .map_or(TlsPolicy::None, |credentials| credentials.security().tls());
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
        }
    }
}

impl SessionKey {
    /// Whether plaintext will do when TLS fails: not where the policy or the port wants TLS, nor where a secret is to be
    /// sent.
    pub(super) fn may_fall_back(&self, config: &SmtpConfig) -> bool {
        self.tls == TlsPolicy::Opportunistic
            && self.credentials.is_none()
            && !config.is_implicit_tls(&self.hop)
    }
}
