//! The limits of the delivery client.

use super::resolve::RouteConfig;
use std::time::Duration;

/// Names, limits and deadlines. Every deadline is absolute: a peer that drips does not extend it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SmtpConfig {
    /// The name in EHLO.
    pub hostname: String,
    /// How hosts are found.
    pub route: RouteConfig,
    /// Connections open at once, to all next hops.
    pub connections: usize,
    /// Connections open at once to one next hop.
    pub connections_per_destination: usize,
    /// Messages sent over one connection before it is closed.
    pub messages_per_connection: u32,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// For one address to accept a connection.
    pub connect_timeout: Duration,
    /// For the greeting.
    pub greeting_timeout: Duration,
    /// For the reply to EHLO, MAIL, RCPT, RSET.
    pub command_timeout: Duration,
    /// For the reply to DATA; and for the body, which has one second more for every 16 KiB.
    pub data_timeout: Duration,
    /// For the reply to the final dot.
    pub final_reply_timeout: Duration,
}

impl Default for SmtpConfig {
    /// The timeouts of RFC 5321 section 4.5.3.2 where it has one.
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self {
            hostname: "localhost".to_owned(),
            route: RouteConfig::default(),
            connections: 500,
            connections_per_destination: 10,
            messages_per_connection: 100,
            idle_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            greeting_timeout: minutes(5),
            command_timeout: minutes(5),
            data_timeout: minutes(5),
            final_reply_timeout: minutes(10),
        }
    }
}

impl SmtpConfig {
    /// How long a body of `size` bytes may take to be written.
    pub(super) fn body_timeout(&self, size: usize) -> Duration {
        let extra = u64::try_from(size / (16 * 1024)).unwrap_or(u64::MAX);
        self.data_timeout.saturating_add(Duration::from_secs(extra))
    }
}
