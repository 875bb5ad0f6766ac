//! What DNSSEC says about a host, and what follows for its sessions (RFC 7672 section 2.2).

use super::tlsa::{Tlsa, usable};
use crate::client::resolve::{LookupError, Resolve};
use spool_core::TlsPolicy;

/// What the TLSA records of a host ask of its sessions: TLS, and a certificate that one of them is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::client) struct Dane {
    /// Where the records are. It goes into SNI, and a certificate from an authority may be for it.
    pub(in crate::client) base: String,
    /// Further names that a certificate from an authority may be for; none where no record names one.
    pub(super) others: Vec<String>,
    /// Those that count. With none of them TLS is asked for, and any certificate will do.
    pub(super) records: Vec<Tlsa>,
}

impl Dane {
    /// What `records`, proved by DNSSEC at `base`, ask for. `others` are the names by which the host was found.
    pub(in crate::client) fn new(base: &str, others: &[&str], records: Vec<Tlsa>) -> Self {
        let records = usable(records);
        let mut names: Vec<String> = Vec::new();
        if records.iter().any(Tlsa::is_authority) {
            names.extend(others.iter().map(|name| (*name).to_owned()));
            names.retain(|name| name != base);
            names.dedup();
        }
        Self {
            base: base.to_owned(),
            others: names,
            records,
        }
    }

    /// The least security of a session.
    pub(in crate::client) const fn tls(&self) -> TlsPolicy {
        TlsPolicy::Required
    }

    /// Whether certificates are checked.
    pub(in crate::client) fn authenticates(&self) -> bool {
        !self.records.is_empty()
    }

    /// Asks `resolver` for the records of `host` at `port`, which DNSSEC proved the names `bases` for; `None`: there are
    /// none, or none that are proved. `domain` is the one whose mail goes there.
    ///
    /// # Errors
    /// Nobody could say: no mail may go there.
    pub(in crate::client) async fn of(
        resolver: &dyn Resolve,
        bases: &[String],
        (host, port): (&str, u16),
        domain: &str,
    ) -> Result<Option<Self>, LookupError> {
        for base in bases {
            match resolver.tlsa(&format!("_{port}._tcp.{base}")).await {
                Ok(answer) if answer.secure => {
                    return Ok(Some(Self::new(base, &[host, domain], answer.records)));
                }
                Ok(_) | Err(LookupError::NoSuchDomain | LookupError::NoData) => {}
                Err(error @ LookupError::Temporary(_)) => return Err(error),
            }
        }
        Ok(None)
    }
}
