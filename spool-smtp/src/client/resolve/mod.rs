//! From a next hop to hosts and their addresses (RFC 5321 section 5).
//!
//! What DNS says comes in through one seam, [`Resolve`]. Nothing here opens a connection to a mail host.

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
mod verdict;
mod watched;

pub use anchors::{TrustAnchors, TrustAnchorsError};
pub use config::RouteConfig;
pub use dns::DnsResolver;
pub(super) use route::{Routes, Target};

use super::dane::Tlsa;
use spool_core::BoxFuture;
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The domain does not exist (NXDOMAIN). It will not by waiting.
    #[error("the domain does not exist")]
    NoSuchDomain,
    /// The domain exists and has no such record.
    #[error("the domain has no such record")]
    NoData,
    /// Nobody could say: SERVFAIL, a refusal, a timeout, no name server, an answer that is not what its zone has signed.
    /// Another time they may.
    #[error("{0}")]
    Temporary(String),
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    /// Lower is tried first.
    pub preference: u16,
    /// The host in A-labels and lower case, without a dot at its end; empty for the root, which says that the domain
    /// takes no mail (RFC 7505).
    pub host: String,
}

/// Records, never none of them, and whether DNSSEC proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records, in any order.
    pub records: Vec<T>,
    /// Whether DNSSEC proves each of them and every alias on the way there, by a validation of one's own. What a name server
    /// says of its own validation is no proof.
    pub secure: bool,
}

/// The addresses of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 and IPv6, each family in the order in which they are to be tried. Never none.
    pub ips: Vec<IpAddr>,
    /// Where TLSA records for the host may be, best first (RFC 7672 section 2.2.2): the name that its aliases lead to, where
    /// DNSSEC proves all the way there, then its own, where DNSSEC proves what that has. Empty: DANE has no say about it.
    pub secure_names: Vec<String>,
}

impl Addresses {
    /// Addresses of which DNSSEC says nothing.
    #[must_use]
    pub const fn unproved(ips: Vec<IpAddr>) -> Self {
        let secure_names = Vec::new();
        Self { ips, secure_names }
    }
}

/// Asks for names. All questions take names in A-labels without a dot at their end, and end within a minute.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The MX records of `domain`, through CNAMEs.
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>>;

    /// The addresses of `host`.
    fn addresses(&self, host: &str) -> BoxFuture<Result<Addresses, LookupError>>;

    /// The TXT records of `name`, each as one text. Never an empty list. Asked only about MTA-STS; without it, no domain has
    /// a policy.
    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(LookupError::NoData)))
    }

    /// The TLSA records of `name`, `_25._tcp.mx.example.net`. Asked only with [`RouteConfig::dane`]; without it, no host has
    /// any. An answer that fails its validation is [`LookupError::Temporary`], never "none".
    fn tlsa(&self, name: &str) -> BoxFuture<Result<Answer<Tlsa>, LookupError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(LookupError::NoData)))
    }
}

#[cfg(test)]
pub(super) mod tests;
