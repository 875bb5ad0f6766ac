//! Who is at the other end of a connection, and the place that it takes.

use super::connections::Place;
use std::net::{IpAddr, SocketAddr};

/// A connection's client, as far as the connection itself or a proxy in front of it tells.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The address is that of a proxy that named no client: nothing may be allowed by it.
    pub(super) unnamed: bool,
    /// The place among the connections, and how many one client may have; none outside a listener.
    pub(super) place: Option<(Place, usize)>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            unnamed: false,
            place: None,
        }
    }
}

impl Peer {
    /// Counts the connection as one of `client` from now on; false, when that one has too many.
    pub(super) fn becomes(&mut self, client: IpAddr) -> bool {
        let place = self.place.as_mut();
        place.is_none_or(|(place, most)| place.move_to(client, *most))
    }
}
