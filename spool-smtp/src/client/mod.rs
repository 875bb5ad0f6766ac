//! The delivery client: routes to next hops, SMTP sessions with lettre over its own stream, and a cache of open sessions.
//!
//! It reports the replies of a next hop within time limits. The spool decides what happens to the message.

mod agent;
mod attempt_progress;
mod auth;
mod capabilities;
mod certificate_key;
mod chunking;
mod commands;
mod config;
mod connect;
mod connect_error;
mod credentials;
mod dane;
mod dead_hosts;
mod delivery;
mod envelope_commands;
mod envelope_replies;
mod host_memory;
mod host_outcome;
mod hosts;
mod passed_hosts;
mod plaintext;
mod pool;
mod race;
pub(crate) mod reply_filter;
mod resolve;
mod roots;
mod session;
mod session_key;
mod session_ledger;
mod session_setup;
mod snapshot;
mod source_address;
mod stream;
mod sts;
pub(crate) mod tls;
mod transaction;
mod wire;

pub use agent::SmtpAgent;
pub use capabilities::Capabilities;
pub use commands::{mail, rcpt};
pub use config::{Lookup, SmtpConfig};
pub use credentials::{Credentials, CredentialsError};
pub use dane::Tlsa;
pub use hosts::FoundHost;
pub use resolve::{
    Addresses, Answer, DnsResolver, Exchanger, LookupError, Resolve, RouteConfig, TrustAnchors,
    TrustAnchorsError,
};
pub use roots::{TrustRoots, TrustRootsError};
pub use snapshot::{DestinationSessions, PoolSnapshot};

#[cfg(test)]
mod tests;
