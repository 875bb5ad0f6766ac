//! What a session must be like to serve an attempt. Attempts that ask for the same share the sessions.

use super::config::SmtpConfig;
use super::credentials::Credentials;
use super::dane::Dane;
use super::resolve::Target;
use super::source::Source;
use spool_core::{DestinationPolicy, Job, NextHop, TlsPolicy};
use std::sync::Arc;

/// What sessions are cached by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) hop: NextHop,
    pub(super) tls: TlsPolicy,
    /// The certificates that DANE asks for: a session that was opened under other records is another one.
    pub(super) dane: Option<Arc<Dane>>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) source: Source,
    /// The destination, when it has a limit of its own: its sessions are then counted and kept apart from those that
    /// others have to the same hop.
    pub(super) route: Option<Arc<[NextHop]>>,
}

/// What one limit of connections is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Hop(NextHop),
    Route(Arc<[NextHop]>),
}

/// A key, and how many connections its scope may have.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) key: Key,
    pub(super) limit: usize,
}

impl Want {
    /// For an attempt at `job` by way of `target`, under the policy of its destination.
    pub(super) fn new(target: &Target, job: &Job, policy: DestinationPolicy, config: &SmtpConfig) -> Self {
        let mut want = Self::to(target, &job.next_hops, policy, config);
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

    /// For sessions to `target` as `destination` has them.
    pub(super) fn to(
        target: &Target,
        destination: &Arc<[NextHop]>,
        policy: DestinationPolicy,
        config: &SmtpConfig,
    ) -> Self {
        let credentials = config.credentials.get(&target.hop);
        let needed = credentials
            .as_ref()
            .map_or(TlsPolicy::None, |credentials| credentials.security().tls());
        let own = policy
            .max_connections
            .and_then(|most| usize::try_from(most.get()).ok());
        Self {
            key: Key {
                hop: target.hop.clone(),
                tls: policy.tls.unwrap_or(config.tls).max(needed).max(target.tls),
                dane: target.dane.clone(),
                credentials,
                source: Source::choose(&config.source_addresses, destination),
                route: own.map(|_| Arc::clone(destination)),
            },
            limit: own.unwrap_or(config.connections_per_destination).max(1),
        }
    }
}

impl Key {
    pub(super) fn scope(&self) -> Scope {
        match &self.route {
            Some(route) => Scope::Route(Arc::clone(route)),
            None => Scope::Hop(self.hop.clone()),
        }
    }

    /// Whether plaintext will do when TLS fails: not where the policy or the port wants TLS, nor where a secret is to be
    /// sent.
    pub(super) fn may_fall_back(&self, config: &SmtpConfig) -> bool {
        self.tls == TlsPolicy::Opportunistic
            && self.credentials.is_none()
            && !config.is_implicit_tls(&self.hop)
    }
}
