//! Why a next hop, or one of its hosts, cannot be tried.

use super::LookupError;
use spool_core::Reply;
use thiserror::Error;

/// Why a next hop, or one of its hosts, cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::client) enum Unroutable {
    #[error("the domain {0} does not exist")]
    NoSuchDomain(String),
    /// The domain accepts no mail.
    #[error("the domain {0} takes no mail (RFC 7505)")]
    NullMx(String),
    /// Of the domain the host has no address, or none that mail may be sent to.
    #[error("{}", no_address(.0, .1))]
    NoAddress(String, String),
    #[error("mail for {0} would come back: {1} is this relay")]
    Loop(String, String),
    /// The MTA-STS policy of the domain does not name the host: its MX record may be forged.
    #[error("the MTA-STS policy of {0} does not name {1}")]
    NotInPolicy(String, String),
    /// The lookup of a name failed temporarily.
    #[error("looking for {0}: {1}")]
    Unknown(String, LookupError),
}

fn no_address(domain: &str, host: &str) -> String {
    match domain == host {
        true => format!("{domain} has no mail exchanger, and no address to send mail to"),
        false => format!("{host}, a mail exchanger of {domain}, has no address to send mail to"),
    }
}

impl Unroutable {
    /// The reply that is recorded. It is permanent only if the next hop is the domain of the recipients; an error of a configured next hop
    /// is not an error of the message.
    pub(in crate::client) fn reply(&self, recipients_own: bool) -> Reply {
        let (code, subject, detail) = match self {
            Self::NoSuchDomain(_) => (550, 1, 2),
            Self::NullMx(_) => (556, 1, 10),
            Self::NoAddress(..) => (550, 4, 4),
            Self::Loop(..) => (550, 4, 6),
            Self::Unknown(..) => (451, 4, 3),
            // Always temporary (RFC 8461 section 5): a newer policy may name the host.
            Self::NotInPolicy(..) => (451, 7, 0),
        };
        let code = if recipients_own { code } else { 451 };
        Reply::new(code, &format!("{}.{subject}.{detail} {self}", code / 100))
    }
}
