//! From a next hop to hosts and their addresses (RFC 5321 section 5).
//!
//! What DNS says comes in through one seam, [`Resolve`]. Nothing here opens a connection to a mail host.

mod config;
mod dns;
mod route;

pub use config::RouteConfig;
pub use dns::DnsResolver;
pub(super) use route::{Routes, Target};

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
    /// Nobody could say: SERVFAIL, a refusal, a timeout, no name server. Another time they may.
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

/// Asks for names. All questions take names in A-labels without a dot at their end, and end within a minute.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The MX records of `domain`, through CNAMEs, in any order. Never an empty list: that is [`LookupError::NoData`].
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Vec<Exchanger>, LookupError>>;

    /// The addresses of `host`, IPv4 and IPv6, each family in the order in which they are to be tried. Never an empty list.
    fn addresses(&self, host: &str) -> BoxFuture<Result<Vec<IpAddr>, LookupError>>;

    /// The TXT records of `name`, each as one text. Never an empty list. Asked only about MTA-STS; without it, no domain has
    /// a policy.
    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(LookupError::NoData)))
    }
}

#[cfg(test)]
pub(super) mod tests;
