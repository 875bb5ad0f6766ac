//! The source address of connections.

use spool_core::NextHop;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// The size of the send buffer. It is bounded because progress is measured by the bytes that the buffer accepts.
const SEND_BUFFER: usize = 256 * 1024;

/// The source address of connections to one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum SourceAddress {
    /// The system chooses.
    #[default]
    Any,
    /// One address of each family; a family without one is not used.
    Of {
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
    },
}

impl SourceAddress {
    /// Chooses an address for a destination: always the same one, because greylisting depends on it. Destinations are spread over all
    /// addresses.
    pub(super) fn choose(addresses: &[IpAddr], destination: &[NextHop]) -> Self {
        if addresses.is_empty() {
            return Self::Any;
        }
        let mut hasher = DefaultHasher::new();
        destination.first().hash(&mut hasher);
        let hash = hasher.finish();
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        Self::Of {
            v4: nth(v4.collect(), hash),
            v6: nth(v6.collect(), hash),
        }
    }

    /// Connects to `address` from this source.
    pub(super) async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let own = match (self, address) {
            (Self::Any, _) => None,
            (Self::Of { v4, .. }, SocketAddr::V4(_)) => Some(v4.map(IpAddr::V4)),
            (Self::Of { v6, .. }, SocketAddr::V6(_)) => Some(v6.map(IpAddr::V6)),
        };
        let tcp = match own {
            None => TcpStream::connect(address).await?,
            Some(None) => {
                let error = "no source address of its family";
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, error));
            }
            Some(Some(own)) => {
                let socket = match own {
                    IpAddr::V4(_) => TcpSocket::new_v4(),
                    IpAddr::V6(_) => TcpSocket::new_v6(),
                }?;
                socket.bind(SocketAddr::new(own, 0))?;
                socket.connect(address).await?
            }
        };
        // Otherwise the final dot waits for the peer's delayed acknowledgement, 40 ms for each message.
        tcp.set_nodelay(true)?;
        // If the size cannot be set, a peer that has stopped reading is noticed later.
        let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER);
        Ok(tcp)
    }

    /// The addresses, for display.
    pub(super) fn addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Any => Vec::new(),
            Self::Of { v4, v6 } => v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect(),
        }
    }
}

fn nth<T: Copy>(all: Vec<T>, hash: u64) -> Option<T> {
    let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
    all.get(usize::try_from(hash % count).ok()?).copied()
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
        assert_eq!(SourceAddress::choose(&[], &[]), SourceAddress::Any);
    }
}
