//! The source address of connections.

use spool_core::NextHop;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// The size of the send buffer. It is bounded because progress is measured by the bytes that the buffer accepts.
const SEND_BUFFER: usize = 256 * 1024;

/// The source addresses of connections to one destination: an IPv4 and an IPv6 address. If one is missing, its family is not used.
/// `None`: the system chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct SourceAddress(Option<[Option<IpAddr>; 2]>);

impl SourceAddress {
    /// Chooses an address for a destination: always the same one, because greylisting depends on it. Destinations are spread over all
    /// addresses.
    pub(super) fn choose(addresses: &[IpAddr], destination: &[NextHop]) -> Self {
        if addresses.is_empty() {
            return Self::default();
        }
        let mut hasher = DefaultHasher::new();
        destination.first().hash(&mut hasher);
        let hash = hasher.finish();
        let one_of = |is_of_family: fn(&IpAddr) -> bool| {
            let all: Vec<_> = addresses.iter().copied().filter(is_of_family).collect();
            let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
            all.get(usize::try_from(hash % count).ok()?).copied()
        };
        Self(Some([one_of(IpAddr::is_ipv4), one_of(IpAddr::is_ipv6)]))
    }

    /// Connects to `address` from this source.
    pub(super) async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let tcp = if let Some(own) = self.0 {
            let mut own = own.into_iter().flatten();
            let own = own
                .find(|own| own.is_ipv4() == address.is_ipv4())
                .ok_or_else(|| {
                    let error = "no source address of its family";
                    io::Error::new(io::ErrorKind::AddrNotAvailable, error)
                })?;
            let socket = match own {
                IpAddr::V4(_) => TcpSocket::new_v4(),
                IpAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            socket.bind(SocketAddr::new(own, 0))?;
            socket.connect(address).await?
        } else {
            TcpStream::connect(address).await?
        };
        // Otherwise the final dot waits for the peer's delayed acknowledgement, 40 ms for each message.
        tcp.set_nodelay(true)?;
        // If the size cannot be set, a peer that has stopped reading is noticed later.
        let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER);
        Ok(tcp)
    }

    /// The addresses, for display.
    pub(super) fn addresses(self) -> Vec<IpAddr> {
        self.0.into_iter().flatten().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_keeps_its_source_and_all_sources_are_used() {
        let addresses = ["127.0.0.1", "127.0.0.2", "::1"].map(|address| address.parse().unwrap());
        let of = |n: usize| SourceAddress::choose(&addresses, &[format!("h{n}.test:25").parse().unwrap()]);
        let sources: std::collections::HashSet<_> = (0..64).map(of).collect();
        assert_eq!(sources.len(), 2);
        assert!((0..64).all(|n| of(n) == of(n)));
        assert_eq!(SourceAddress::choose(&[], &[]), SourceAddress::default());
    }
}
