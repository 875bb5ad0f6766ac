//! From a host to a TCP connection: its addresses, IPv6 and IPv4 by turns, each a moment after the one before
//! (RFC 8305); the first that answers is used, and the others are given up.

use super::config::SmtpConfig;
use super::resolve::{Routes, Target};
use super::session::ConnectError;
use super::source::Source;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// The most addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;
/// How long an address is waited for before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The addresses of `target`, in the order in which they are tried.
pub(super) async fn addresses(target: &Target, routes: &Routes) -> Result<Vec<SocketAddr>, ConnectError> {
    let ips = match &target.addresses {
        Some(addresses) => addresses.clone(),
        None => {
            let found = routes.addresses(target.hop.host()).await;
            let failed = |error| ConnectError::Failed(format!("cannot resolve the name: {error}"));
            found.map_err(failed)?.ips
        }
    };
    Ok(in_order(ips, target.hop.port()))
}

/// Those that are tried, in their order.
fn in_order(ips: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let addresses = by_turns(ips).map(|ip| SocketAddr::new(ip, port));
    addresses.take(MAX_ADDRESSES).collect()
}

/// Connects from `source` to the first of `addresses` that answers; gives which that is.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    source: Source,
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

/// The families by turns, the first address's family first.
fn by_turns(addresses: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|ip| ip.is_ipv6() == first);
    let rounds = one.len().max(other.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    (0..rounds)
        .flat_map(move |_| [one.next(), other.next()])
        .flatten()
}

/// Connects to all `addresses`, one after the other: the next one begins when one fails, or is slow. Never more than one
/// connection comes out of it.
pub(super) async fn race<T, F>(
    addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let mut waiting = addresses.peekable();
    let mut running = FuturesUnordered::new();
    let mut last = "the name has no address".to_owned();
    loop {
        match waiting.next() {
            Some(address) => running.push(connect(address)),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let others = waiting.peek().is_some();
        tokio::select! {
            biased;
            Some(connected) = running.next() => match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(STAGGER), if others => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let given = addresses(&["::1", "::2", "::3", "10.0.0.1"]);
        let expected = addresses(&["::1", "10.0.0.1", "::2", "::3"]);
        assert_eq!(by_turns(given).collect::<Vec<_>>(), expected);
        let given = addresses(&["10.0.0.1", "10.0.0.2", "::1"]);
        let expected = addresses(&["10.0.0.1", "::1", "10.0.0.2"]);
        assert_eq!(by_turns(given).collect::<Vec<_>>(), expected);
        assert_eq!(by_turns(Vec::new()).count(), 0);
    }

    #[test]
    fn of_many_addresses_eight_are_tried() {
        let v4 = (1..=20).map(|n| IpAddr::from([192, 0, 2, n]));
        let tried = in_order(v4.chain(addresses(&["2001:db8::1"])).collect(), 25);
        assert_eq!(tried.len(), 8);
        assert_eq!(tried[0], SocketAddr::from(([192, 0, 2, 1], 25)));
        assert!(tried[1].is_ipv6(), "each family is among them: {tried:?}");
    }

    /// What an address does when it is connected to.
    #[derive(Clone, Copy)]
    enum Does {
        Answer(u64),
        Refuse(u64),
        Nothing,
    }

    /// What came of a race of ports 1, 2, .. that do this, when it ended, and when each was tried, in milliseconds.
    async fn raced(does: &[Does]) -> (Result<u16, String>, u128, Vec<u128>) {
        let start = Instant::now();
        let tried = Mutex::new(Vec::new());
        let ports = (1..).take(does.len());
        let addresses = ports.map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let winner = race(addresses, |address| {
            tried.lock().unwrap().push(start.elapsed().as_millis());
            let does = does[usize::from(address.port()) - 1];
            async move {
                let (wait, answer) = match does {
                    Does::Answer(ms) => (ms, Ok(address.port())),
                    Does::Refuse(ms) => (ms, Err(format!("{address}: refused"))),
                    Does::Nothing => (30_000, Err(format!("{address}: connecting timed out"))),
                };
                tokio::time::sleep(Duration::from_millis(wait)).await;
                answer
            }
        });
        let winner = winner.await;
        (winner, start.elapsed().as_millis(), tried.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_blackhole_costs_a_quarter_of_a_second() {
        let (winner, ended, tried) = raced(&[Does::Nothing, Does::Answer(10), Does::Answer(1)]).await;
        assert_eq!((winner, ended, tried), (Ok(2), 260, vec![0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing_and_a_slow_answer_still_wins() {
        let (winner, ended, tried) = raced(&[Does::Refuse(0), Does::Answer(400), Does::Answer(400)]).await;
        assert_eq!((winner, ended, tried), (Ok(2), 400, vec![0, 0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_ends_the_race() {
        let (winner, ended, tried) = raced(&[Does::Nothing, Does::Refuse(20), Does::Nothing]).await;
        assert_eq!(winner, Err("192.0.2.1:3: connecting timed out".to_owned()));
        assert_eq!((ended, tried), (30_270, vec![0, 250, 270]));
        let nowhere = race(std::iter::empty(), |_| async { Ok(()) }).await;
        assert_eq!(nowhere, Err("the name has no address".to_owned()));
    }
}
