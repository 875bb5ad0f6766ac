//! The hosts that an attempt would try for a next hop now, asked for without one: for whoever wants to know where mail would go.
//!
//! It asks as deliveries do, and opens no session.

use super::SmtpAgent;
use super::resolve::Target;
use serde::{Deserialize, Serialize};
use spool_core::{NextHop, Reply, TlsPolicy};
use std::net::IpAddr;
use thiserror::Error;

/// A host that would be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FoundHost {
    /// Its name or address, and the port. Never mail exchangers.
    pub next_hop: NextHop,
    /// Its addresses, in the order in which they would be tried.
    pub addresses: Vec<IpAddr>,
    /// The least security that its domain asks for, by MTA-STS or DANE.
    pub tls: TlsPolicy,
    /// Whether its certificate is held to TLSA records.
    pub dane: bool,
}

/// Why a host, or all of a next hop, would be passed over.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{reply}")]
#[non_exhaustive]
pub struct HostError {
    /// The reply that an attempt would record.
    pub reply: Reply,
}

impl SmtpAgent {
    /// The hosts that an attempt would try for `next_hop` now, in order: a handful at most. `recipients_own`: it follows from the
    /// recipients' domain alone. Mail exchangers of equal preference come in a random order, another one each time.
    ///
    /// # Errors
    /// One [`HostError`] for each host that is passed over, in its place.
    pub async fn hosts(&self, next_hop: &NextHop, recipients_own: bool) -> Vec<Result<FoundHost, HostError>> {
        let mut route = self.routes().to(next_hop, recipients_own).await;
        let mut hosts = Vec::new();
        while let Some(target) = route.next().await {
            hosts.push(match target {
                Ok(target) => self.found(target).await,
                Err(unroutable) => Err(HostError {
                    reply: unroutable.reply(recipients_own),
                }),
            });
        }
        hosts
    }

    async fn found(&self, target: Target) -> Result<FoundHost, HostError> {
        let addresses = match target.addresses {
            Some(addresses) => addresses,
            // Of a host that the configuration names, a connection asks for them.
            None => {
                let found = self.routes().addresses(target.hop.host()).await;
                let failed = |error| HostError {
                    reply: Reply::new(451, &format!("4.4.3 looking for {}: {error}", target.hop.host())),
                };
                found.map_err(failed)?.ips
            }
        };
        Ok(FoundHost {
            next_hop: target.hop,
            addresses,
            tls: target.tls,
            dane: target.dane.is_some(),
        })
    }
}
