//! Finds the hosts that an attempt would try for a next hop, for display.
//!
//! The lookups are those of a delivery. No session is opened.

use super::SmtpAgent;
use super::resolve::Target;
use serde::{Deserialize, Serialize};
use spool_core::{NextHop, Reply, TlsPolicy};
use std::net::IpAddr;

/// A host that would be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FoundHost {
    /// Its name or address, and the port; never `mx:`.
    pub next_hop: NextHop,
    /// Its addresses, in the order in which they would be tried.
    pub addresses: Vec<IpAddr>,
    /// The lowest security that its domain requires, by MTA-STS or DANE.
    pub tls: TlsPolicy,
    /// Whether its certificate is checked against TLSA records.
    pub dane: bool,
}

impl SmtpAgent {
    /// The hosts that an attempt would try for `next_hop` now, in order. `recipients_own`: the next hop is the domain of the recipients.
    /// Mail exchangers of equal preference are in random order.
    ///
    /// # Errors
    /// For each host that would be passed over, the reply that an attempt would record.
    pub async fn hosts(&self, next_hop: &NextHop, recipients_own: bool) -> Vec<Result<FoundHost, Reply>> {
        let mut route = self.pool.routes.to(next_hop, recipients_own).await;
        let mut hosts = Vec::new();
        while let Some(target) = route.next().await {
            hosts.push(match target {
                Ok(target) => self.found(target).await,
                Err(unroutable) => Err(unroutable.reply(recipients_own)),
            });
        }
        hosts
    }

    async fn found(&self, target: Target) -> Result<FoundHost, Reply> {
        let found = self.pool.routes.addresses_of(&target).await;
        let host = target.hop.host();
        let failed = |error| Reply::new(451, &format!("4.4.3 looking for {host}: {error}"));
        let addresses = found.map_err(failed)?;
        Ok(FoundHost {
            next_hop: target.hop,
            addresses,
            tls: target.tls,
            dane: target.dane.is_some(),
        })
    }
}
