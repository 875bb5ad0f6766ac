//! The requirements of a host's TLSA records for its sessions (RFC 7672 section 2.2).

use super::tlsa::{Tlsa, usable};
use crate::client::resolve::{LookupError, Resolve};

/// The requirements of the TLSA records of a host: TLS, and a certificate that matches one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Dane {
    /// The name of the records. It is sent in SNI, and a certificate of an authority may be for it.
    pub(in crate::client) base: String,
    /// Further names that a certificate of an authority may be for; empty if no record names an authority.
    pub(super) others: Vec<String>,
    /// The usable records. Without any, TLS with any certificate is required.
    pub(super) records: Vec<Tlsa>,
}

impl Dane {
    /// The requirements of `records`, which DNSSEC has validated at `base`. `others` are the names by which the host was found.
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

    /// Whether certificates are checked.
    pub(in crate::client) fn authenticates(&self) -> bool {
        !self.records.is_empty()
    }

    /// Looks up the records of `host` at `port` under the validated names `bases`; `None`: there are none, or none that were validated.
    /// `domain` is the domain of the mail.
    ///
    /// # Errors
    /// When the lookup fails: no mail may be sent to the host.
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
