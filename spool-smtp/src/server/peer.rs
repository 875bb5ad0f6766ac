//! Who is at the other end of a connection, and the place that it takes.

use super::clients::{ClientKey, OpenConnection};
use super::config::ServerConfig;
use super::connections::ConnectionSlot;
use super::reply::ServerReply;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A connection's client, as far as the connection itself or a proxy in front of it tells.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The user of this machine whose program it is; then the address has no meaning.
    pub(super) user: Option<u32>,
    /// The address is that of a proxy that named no client: nothing may be allowed by it.
    pub(super) unnamed: bool,
    /// The place among the connections; none outside a listener.
    pub(super) place: Option<ConnectionSlot>,
    /// The connection among those of its client; none outside a listener, and of a proxy before it names one.
    open: Option<OpenConnection>,
}

/// The address as everything else sees it: an IPv4 client of a socket that listens on IPv6 has its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: canonical(address),
            user: None,
            unnamed: false,
            place: None,
            open: None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "uid {user}"),
            None => write!(f, "{}", self.address),
        }
    }
}

impl Peer {
    /// A program of this user of the machine.
    pub(super) fn local(user: u32) -> Self {
        Self {
            user: Some(user),
            ..Self::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        }
    }

    /// Counts the connection as one of `client` from now on, unless that one has too many, or has opened too many.
    pub(super) fn counts_as(&mut self, client: ClientKey, config: &ServerConfig) -> Result<(), ServerReply> {
        // It no longer counts for the client before.
        self.open = None;
        self.open = Some(config.clients.open(client, config.connections_per_client)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::reply;

    #[test]
    fn a_connection_counts_for_one_client_at_a_time() {
        let config = ServerConfig {
            connections_per_client: 1,
            ..ServerConfig::default()
        };
        let client = |text: &str| ClientKey::address(text.parse().unwrap());
        let peer = || Peer::from("192.0.2.9:25".parse::<SocketAddr>().unwrap());
        let (mut one, mut other) = (peer(), peer());
        one.counts_as(client("192.0.2.1"), &config).unwrap();
        let refused = other.counts_as(client("192.0.2.1"), &config);
        assert_eq!(refused, Err(reply::TOO_MANY_CONNECTIONS));
        // Named again as the same client, it has the place that it had.
        one.counts_as(client("192.0.2.1"), &config).unwrap();
        one.counts_as(client("192.0.2.2"), &config).unwrap();
        other.counts_as(client("192.0.2.1"), &config).unwrap();
    }
}
