//! Opens a TCP connection to a host: its addresses are tried with IPv6 and IPv4 alternating (RFC 8305).

use super::config::SmtpConfig;
use super::connect_error::ConnectError;
use super::race::race;
use super::resolve::{Routes, Target};
use super::source_address::SourceAddress;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// The most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

/// The addresses of `target`, in the order in which they are tried.
pub(super) async fn addresses(target: &Target, routes: &Routes) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |error| ConnectError::Failed(format!("cannot resolve the name: {error}"));
    let ips = routes.addresses_of(target).await.map_err(failed)?;
    Ok(in_order(ips, target.hop.port()))
}

/// The addresses that are tried, in order.
fn in_order(ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let addresses = alternate(ips).map(|ip| SocketAddr::new(ip, port));
    addresses.take(MAX_ADDRESSES).collect()
}

/// Connects from `source` to the first of `addresses` that answers. Returns that address too.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    source: SourceAddress,
    config: &SmtpConfig,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let connected = race(addresses.iter().copied(), |address| async move {
        match tokio::time::timeout(config.connect_timeout, source.connect(address)).await {
            Ok(Ok(tcp)) => Ok((tcp, address)),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: connecting timed out")),
        }
    });
    connected.await.map_err(ConnectError::Failed)
}

/// Alternates the address families, beginning with that of the first address.
fn alternate(addresses: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|ip| ip.is_ipv6() == first);
    let rounds = one.len().max(other.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    (0..rounds)
        .flat_map(move |_| [one.next(), other.next()])
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_alternate() {
        let given = addresses(&["::1", "::2", "::3", "10.0.0.1"]);
        let expected = addresses(&["::1", "10.0.0.1", "::2", "::3"]);
        assert_eq!(alternate(given).collect::<Vec<_>>(), expected);
        let given = addresses(&["10.0.0.1", "10.0.0.2", "::1"]);
        let expected = addresses(&["10.0.0.1", "::1", "10.0.0.2"]);
        assert_eq!(alternate(given).collect::<Vec<_>>(), expected);
        assert_eq!(alternate(Vec::new()).count(), 0);
    }

    #[test]
    fn of_many_addresses_eight_are_tried() {
        let v4 = (1..=20).map(|n| IpAddr::from([192, 0, 2, n]));
        let tried = in_order(v4.chain(addresses(&["2001:db8::1"])).collect(), 25);
        assert_eq!(tried.len(), 8);
        assert_eq!(tried[0], SocketAddr::from(([192, 0, 2, 1], 25)));
        assert!(tried[1].is_ipv6(), "each family is among them: {tried:?}");
    }
}
