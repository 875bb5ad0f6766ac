//! Why a next hop, or one of its hosts, cannot be tried.

use super::LookupError;
use spool_core::Reply;
use thiserror::Error;

/// Why a next hop, or one of its hosts, cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::client) enum Unroutable {
    #[error("the domain {domain} does not exist")]
    NoSuchDomain { domain: String },
    /// The domain accepts no mail.
    #[error("the domain {domain} takes no mail (RFC 7505)")]
    NullMx { domain: String },
    /// The host has no address, or none that mail may be sent to.
    #[error("{}", no_address(domain, host))]
    NoAddress { domain: String, host: String },
    #[error("mail for {domain} would come back: {host} is this relay")]
    Loop { domain: String, host: String },
    /// The MTA-STS policy of the domain does not name the host: its MX record may be forged.
    #[error("the MTA-STS policy of {domain} does not name {host}")]
    NotInPolicy { domain: String, host: String },
    /// The lookup failed temporarily.
    #[error("looking for {name}: {error}")]
    Unknown { name: String, error: String },
}

fn no_address(domain: &str, host: &str) -> String {
    match domain == host {
        true => format!("{domain} has no mail exchanger, and no address to send mail to"),
        false => format!("{host}, a mail exchanger of {domain}, has no address to send mail to"),
    }
}

impl Unroutable {
    pub(super) fn unknown(name: &str, error: &LookupError) -> Self {
        let (name, error) = (name.to_owned(), error.to_string());
        Self::Unknown { name, error }
    }

    /// The reply that is recorded. It is permanent only if the next hop is the domain of the recipients; an error of a configured next hop
    /// is not an error of the message.
    pub(in crate::client) fn reply(&self, recipients_own: bool) -> Reply {
        let (code, subject, detail) = match self {
            Self::NoSuchDomain { .. } => (550, 1, 2),
            Self::NullMx { .. } => (556, 1, 10),
            Self::NoAddress { .. } => (550, 4, 4),
            Self::Loop { .. } => (550, 4, 6),
            Self::Unknown { .. } => (451, 4, 3),
            // Always temporary (RFC 8461 section 5): a newer policy may name the host.
            Self::NotInPolicy { .. } => (451, 7, 0),
        };
        let code = if recipients_own { code } else { 451 };
        Reply::new(code, &format!("{}.{subject}.{detail} {self}", code / 100))
    }
}
