//! The limits of the delivery client.

use super::credentials::Credentials;
use super::resolve::RouteConfig;
use super::roots::TrustRoots;
use spool_core::{DestinationPolicy, NextHop, TlsPolicy, a_labels};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A question that is asked anew for every attempt, so that the answer may change while mail is on the spool.
///
/// It is asked on the thread of the sessions: it must not wait.
pub struct Lookup<K: ?Sized, V>(Arc<dyn Fn(&K) -> V + Send + Sync>);

impl<K: ?Sized, V> Lookup<K, V> {
    /// Answers with `answer`.
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

impl<K: ?Sized, V> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Names, limits and deadlines. Every deadline is absolute: a peer that drips does not extend it.
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
    /// Security of the sessions to a destination whose policy says nothing of it.
    pub tls: TlsPolicy,
    /// The authorities that certificates are checked against.
    pub tls_roots: TrustRoots,
    /// Ports on which TLS comes first, before the greeting (RFC 8314); elsewhere it comes by STARTTLS.
    pub implicit_tls_ports: Vec<u16>,
    /// Whether a small message to a peer that has just taken one, and offers CHUNKING and PIPELINING, goes out in one write with its
    /// envelope (RFC 3030): one round trip in place of two.
    pub chunking: bool,
    /// How long a peer whose TLS failed is sent mail in plaintext before its TLS is tried again; `opportunistic` only.
    pub plaintext_memory: Duration,
    /// What is asked of the way to a destination, by its list of next hops; for the empty list, what is asked where nothing else is set.
    pub policies: Lookup<[NextHop], DestinationPolicy>,
    /// Who the client is to a host; `None`: it does not say. Asked with the host that is connected to, never with the
    /// domain of `mx:domain:port`: a secret goes to none but a host that was named for it.
    pub credentials: Lookup<NextHop, Option<Arc<Credentials>>>,
    /// Addresses of this machine to send from; empty: the system chooses. Mail for one destination leaves from the same
    /// address every time, for peers that greylist; a family without an address here is not used.
    pub source_addresses: Vec<IpAddr>,
    /// Connections open at once, to all next hops. One path has three quarters of them at most.
    pub connections: usize,
    /// Connections open at once on one path ([`DeliveryAgent::path`](spool_core::DeliveryAgent::path)) whose policy has no limit of its own.
    pub connections_per_destination: usize,
    /// Messages sent over one connection before it is closed.
    pub messages_per_connection: u32,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// For one address to accept a connection, and for one that is being closed to make room.
    pub connect_timeout: Duration,
    /// For the greeting.
    pub greeting_timeout: Duration,
    /// For the reply to STARTTLS, and for the handshake.
    pub tls_timeout: Duration,
    /// For the reply to EHLO, AUTH, MAIL, RCPT, RSET.
    pub command_timeout: Duration,
    /// For the reply to DATA; and for the peer to take more of the body, however large that is.
    pub data_timeout: Duration,
    /// For the reply to the final dot.
    pub final_reply_timeout: Duration,
    /// For one attempt in all, whatever its hops, sessions and steps may take; one second more for every 16 KiB of body.
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

/// No limit is longer: with "for ever" there would be no adding to the time of now.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

impl SmtpConfig {
    /// The same, with no limit beyond [`LONGEST`].
    pub(super) fn bounded(mut self) -> Self {
        let spans = [
            &mut self.plaintext_memory,
            &mut self.idle_timeout,
            &mut self.connect_timeout,
            &mut self.greeting_timeout,
            &mut self.tls_timeout,
            &mut self.command_timeout,
            &mut self.data_timeout,
            &mut self.final_reply_timeout,
            &mut self.attempt_timeout,
        ];
        for span in spans {
            *span = LONGEST.min(*span);
        }
        self
    }

    /// How long an attempt with a body of `size` bytes may take.
    pub(super) fn attempt_timeout(&self, size: usize) -> Duration {
        let allowance = Duration::from_secs(u64::try_from(size / (16 * 1024)).unwrap_or(u64::MAX));
        self.attempt_timeout.saturating_add(allowance)
    }

    /// The name in EHLO: A-labels, with nothing in it that could end the line or begin another word.
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
