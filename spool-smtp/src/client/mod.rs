//! The delivery client: the way to a next hop, lettre's SMTP connection over a stream of our own, and a cache of open
//! sessions.
//!
//! It never decides what becomes of a message. It reports what the next hop said, reply by reply, within its time limits.

mod agent;
mod capabilities;
mod config;
mod connect;
mod pool;
mod reply_filter;
mod resolve;
mod session;
mod stream;
mod sts;
mod transaction;
mod wire;

pub use agent::SmtpAgent;
pub use config::SmtpConfig;
pub use resolve::{DnsResolver, Exchanger, LookupError, Resolve, RouteConfig};

#[cfg(test)]
mod tests;
