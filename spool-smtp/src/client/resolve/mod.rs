//! From a next hop to hosts and their addresses (RFC 5321 section 5).
//!
//! All DNS lookups go through [`Resolve`]. Nothing here connects to a mail host.

mod aliases;
mod anchors;
mod config;
mod current;
mod dns;
mod exchange;
mod path;
mod proof;
mod resolv_conf;
mod route;
mod servers;
mod target;
mod unroutable;
mod verdict;
mod watched;

pub use anchors::{TrustAnchors, TrustAnchorsError};
pub use config::RouteConfig;
pub use dns::DnsResolver;
pub(super) use route::Routes;
pub(super) use target::Target;

use super::dane::Tlsa;
use spool_core::BoxFuture;
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The domain does not exist (NXDOMAIN). This is permanent.
    #[error("the domain does not exist")]
    NoSuchDomain,
    /// The domain exists and has no such record.
    #[error("the domain has no such record")]
    NoData,
    /// The lookup failed, and may succeed later: SERVFAIL, a refusal, a timeout, no name server, an answer that fails DNSSEC validation.
    #[error("{0}")]
    Temporary(String),
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    /// Lower values are tried first.
    pub preference: u16,
    /// The host in A-labels and lower case, without a trailing dot; empty for the root: the domain accepts no mail (RFC 7505).
    pub host: String,
}

/// At least one record, and whether DNSSEC has validated them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records, in any order.
    pub records: Vec<T>,
    /// Whether each of them, and every alias that leads to them, was validated locally with DNSSEC. The AD bit of a name server does not
    /// count.
    pub secure: bool,
}

/// The addresses of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// At least one address, IPv4 or IPv6, each family in the order in which they are tried.
    pub ips: Vec<IpAddr>,
    /// The names at which TLSA records are looked up, in order (RFC 7672 section 2.2.2): the end of the aliases, if DNSSEC has validated
    /// all of them, then the name of the host, if DNSSEC has validated its records. Empty: DANE does not apply.
    pub secure_names: Vec<String>,
}

impl Addresses {
    /// Addresses without DNSSEC.
    #[must_use]
    pub const fn insecure(ips: Vec<IpAddr>) -> Self {
        let secure_names = Vec::new();
        Self { ips, secure_names }
    }
}

/// Looks up names in DNS. All names are in A-labels without a trailing dot. Every lookup ends within a minute.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The MX records of `domain`; CNAMEs are followed.
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>>;

    /// The addresses of `host`.
    fn addresses(&self, host: &str) -> BoxFuture<Result<Addresses, LookupError>>;

    /// The TXT records of `name`, each as one text; at least one. Used for MTA-STS and DKIM. The default implementation finds none.
    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(LookupError::NoData)))
    }

    /// The TLSA records of `name`, as `_25._tcp.mx.example.net`. Used only with [`RouteConfig::dane`]. An answer that fails validation is
    /// [`LookupError::Temporary`]. The default implementation finds none.
    fn tlsa(&self, name: &str) -> BoxFuture<Result<Answer<Tlsa>, LookupError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(LookupError::NoData)))
    }
}

#[cfg(test)]
pub(super) mod tests;
