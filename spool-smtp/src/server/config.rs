//! How the ingress is set up. Plain values with the defaults of `[listen.limits]` and `[relay]`; nothing is read here.

use super::auth::Logins;
use super::clients::Clients;
use super::network::Network;
use super::policy::RelayPolicy;
use super::tls::ServerTls;
use spool_core::{Budget, Clock, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// How a message with a CR without LF, or an LF without CR, is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareNewline {
    /// It is refused and the connection is closed, because SMTP smuggling uses such messages.
    #[default]
    Reject,
    /// Each becomes CRLF. The end of the message is found in the received bytes, so this never creates an end.
    Normalize,
}

/// The configuration of the ingress.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The host name in the greeting and in trace headers. Must be a domain name.
    pub hostname: String,
    /// Concurrent connections, over all listeners that share [`clients`](Self::clients). Default 1000.
    pub connections: usize,
    /// Concurrent connections from one client: an IPv4 address or an IPv6 /64; at a Unix socket, from one user. Over all
    /// listeners, too. Default 100.
    pub connections_per_client: usize,
    /// Largest message in bytes, without the trace header that is added. Default 35 MiB.
    pub message_size: usize,
    /// Most recipients of one message. Default 1000.
    pub recipients: usize,
    /// Longest command line in bytes, CRLF included; at least 512 are always accepted. Default 8 KiB.
    pub line_length: usize,
    /// After how many 5xx replies a session is closed. Default 20.
    pub errors_per_session: usize,
    /// Time for one complete command to arrive, and for the client to read the replies to it. Default 5 minutes.
    pub command_timeout: Duration,
    /// Time for one complete message to arrive. Default 10 minutes.
    pub data_timeout: Duration,
    /// Time for a TLS handshake. Default 1 minute.
    pub tls_timeout: Duration,
    /// How bare CR and bare LF in a message are handled.
    pub bare_newline: BareNewline,
    /// Most `Received` headers; a message with more is in a loop. Default 50.
    pub received_headers: usize,
    /// Memory for messages that are arriving, over all sessions. A message that does not fit is
    /// refused with 451. Default 256 MiB.
    pub memory: Budget,
    /// The certificate, and all that TLS needs. Without it there is no STARTTLS, and no implicit TLS. Default: none.
    pub tls: Option<ServerTls>,
    /// Recent activity and limits of clients and users, and the open connections. Default: no limits.
    pub clients: Clients,
    /// Who may log in. Default: nobody, and AUTH is not offered.
    pub logins: Logins,
    /// Who may relay where.
    pub relay: RelayPolicy,
    /// Who may speak the PROXY protocol, and XCLIENT. They have no limit of connections of their own: their clients have.
    /// Default: none.
    pub proxies: Vec<Network>,
    /// The wall clock for trace headers.
    pub clock: Arc<dyn Clock>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            connections: 1000,
            connections_per_client: 100,
            message_size: 35 << 20,
            recipients: 1000,
            line_length: 8 << 10,
            errors_per_session: 20,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(600),
            tls_timeout: Duration::from_secs(60),
            bare_newline: BareNewline::default(),
            received_headers: 50,
            memory: Budget::new(256 << 20),
            tls: None,
            clients: Clients::default(),
            logins: Logins::default(),
            relay: RelayPolicy::default(),
            proxies: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}
