//! Who is at the other end of a connection, and the place that it takes.

use super::clients::{ClientKey, Clients, OpenConnection};
use super::connections::ConnectionSlot;
use super::reply::{self, ServerReply};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A connection's client, as far as the connection itself or a proxy in front of it tells.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The user of this machine whose program it is; then the address has no meaning.
    pub(super) user: Option<u32>,
    /// The address is that of a proxy that named no client: nothing may be allowed by it.
    pub(super) unnamed: bool,
    /// The place among the connections, and how many one client may have; none outside a listener.
    pub(super) place: Option<(ConnectionSlot, usize)>,
    /// The connection among those of its client; none outside a listener, and of a proxy before it names one.
    open: Option<OpenConnection>,
}

/// The address as everything else sees it: an IPv4 client of a socket that listens on IPv6 has its IPv4 address.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
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
    /// Counts the connection as one of `client` from now on, unless that one has too many, or has opened too many.
    pub(super) fn becomes(&mut self, client: IpAddr, clients: &Clients) -> Result<(), ServerReply> {
        let place = self.place.as_mut();
        if !place.is_none_or(|(place, most)| place.move_to(client, *most)) {
            return Err(reply::TOO_MANY_CONNECTIONS);
        }
        self.counts_as(ClientKey::address(client), clients)
    }

    /// Counts the connection among those that `client` has opened recently.
    pub(super) fn counts_as(&mut self, client: ClientKey, clients: &Clients) -> Result<(), ServerReply> {
        let open = clients.connect_as(client);
        self.open = Some(open.map_err(|wait| reply::TOO_MANY_CONNECTIONS_LATELY.until(wait))?);
        Ok(())
    }
}
