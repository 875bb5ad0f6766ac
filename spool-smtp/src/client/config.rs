//! The configuration of the delivery client.

use super::credentials::Credentials;
use super::resolve::RouteConfig;
use super::roots::TrustRoots;
use spool_core::{DestinationPolicy, NextHop, TlsPolicy, a_labels};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A function that is called for every attempt, so that its result may change while mail is on the spool.
///
/// It is called on the thread of the sessions and must not block.
#[derive(derive_more::Debug)]
#[debug("Lookup")]
pub struct Lookup<K: ?Sized, V>(Arc<dyn Fn(&K) -> V + Send + Sync>);

impl<K: ?Sized, V> Lookup<K, V> {
    /// Calls `answer`.
    pub fn new(answer: impl Fn(&K) -> V + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// The answer for `key`.
    pub fn get(&self, key: &K) -> V {
        (self.0)(key)
    }
}

impl<K: ?Sized, V> Clone for Lookup<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: ?Sized, V: Default> Default for Lookup<K, V> {
    fn default() -> Self {
        Self::new(|_| V::default())
    }
}

/// Names, limits and deadlines. Every deadline is absolute: a peer that sends slowly does not extend it.
///
/// ```
/// use spool_core::{NextHop, TlsPolicy};
/// use spool_smtp::client::{Credentials, Lookup, SmtpAgent, SmtpConfig};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let relay: NextHop = "smtp.example.net:465".parse()?;
/// let ada = Arc::new(Credentials::password("ada", "a password")?);
/// let mut config = SmtpConfig::default();
/// config.hostname = "out.example.org".to_owned();
/// config.tls = TlsPolicy::Required;
/// config.credentials = Lookup::new(move |hop| (*hop == relay).then(|| Arc::clone(&ada)));
/// let agent = SmtpAgent::new(config);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SmtpConfig {
    /// The name in EHLO. One with U-labels is sent as A-labels.
    pub hostname: String,
    /// How hosts are found.
    pub route: RouteConfig,
    /// The security of sessions with a destination whose policy does not set it.
    pub tls: TlsPolicy,
    /// The authorities that certificates are checked against.
    pub tls_roots: TrustRoots,
    /// Ports on which TLS starts before the greeting (RFC 8314); on others it starts with STARTTLS.
    pub implicit_tls_ports: Vec<u16>,
    /// Whether a small message is sent in one write with its envelope (RFC 3030), which saves a round trip: to a peer that has just
    /// accepted a message and offers CHUNKING and PIPELINING.
    pub chunking: bool,
    /// For how long a peer whose TLS failed is sent mail in plaintext; with `opportunistic` only.
    pub plaintext_memory: Duration,
    /// The policy of a destination, by its list of next hops; for the empty list, the default policy.
    pub policies: Lookup<[NextHop], DestinationPolicy>,
    /// The credentials for a host; `None`: no AUTH. It is called with the host that is connected to, never with the domain of
    /// `mx:domain:port`, so that a secret is sent only to a host that was configured for it.
    pub credentials: Lookup<NextHop, Option<Arc<Credentials>>>,
    /// Source addresses; empty: the system chooses. A destination always gets the same one, because of greylisting. A family without an
    /// address here is not used.
    pub source_addresses: Vec<IpAddr>,
    /// The most connections, to all next hops. One path has three quarters of them at most.
    pub connections: usize,
    /// The most connections of one path ([`DeliveryAgent::path`](spool_core::DeliveryAgent::path)) whose policy has no limit.
    pub connections_per_destination: usize,
    /// Messages sent over one connection before it is closed.
    pub messages_per_connection: u32,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// For one address to accept a connection, and for a connection to be closed when the limits are reached.
    pub connect_timeout: Duration,
    /// For the greeting.
    pub greeting_timeout: Duration,
    /// For the reply to STARTTLS, and for the handshake.
    pub tls_timeout: Duration,
    /// For the reply to EHLO, AUTH, MAIL, RCPT, RSET.
    pub command_timeout: Duration,
    /// For the reply to DATA, and for each progress in sending the body.
    pub data_timeout: Duration,
    /// For the reply to the final dot.
    pub final_reply_timeout: Duration,
    /// For a whole attempt, with one second more for every 16 KiB of body.
    pub attempt_timeout: Duration,
}

impl Default for SmtpConfig {
    /// The timeouts of RFC 5321 section 4.5.3.2 where it has one.
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self {
            hostname: "localhost".to_owned(),
            route: RouteConfig::default(),
            tls: TlsPolicy::default(),
            tls_roots: TrustRoots::default(),
            implicit_tls_ports: vec![465],
            chunking: true,
            plaintext_memory: minutes(10),
            policies: Lookup::default(),
            credentials: Lookup::default(),
            source_addresses: Vec::new(),
            connections: 500,
            connections_per_destination: 10,
            messages_per_connection: 100,
            idle_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            greeting_timeout: minutes(5),
            tls_timeout: minutes(1),
            command_timeout: minutes(5),
            data_timeout: minutes(5),
            final_reply_timeout: minutes(10),
            attempt_timeout: minutes(60),
        }
    }
}

impl SmtpConfig {
    /// The time limit of an attempt with a body of `size` bytes.
    pub(super) fn attempt_timeout(&self, size: usize) -> Duration {
        let allowance = Duration::from_secs(u64::try_from(size / (16 * 1024)).unwrap_or(u64::MAX));
        self.attempt_timeout.saturating_add(allowance)
    }

    /// The name in EHLO: A-labels, without characters that could end the line or begin another word.
    pub(super) fn hello_name(&self) -> String {
        let name = match self.hostname.is_ascii() {
            true => Cow::Borrowed(self.hostname.as_str()),
            false => a_labels(&self.hostname),
        };
        name.chars().filter(char::is_ascii_graphic).collect()
    }

    pub(super) fn is_implicit_tls(&self, hop: &NextHop) -> bool {
        self.implicit_tls_ports.contains(&hop.port())
    }
}
