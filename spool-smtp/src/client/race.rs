//! Staggered connection attempts to the addresses of a host (RFC 8305).

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

/// How long an attempt runs before the next one starts beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to `addresses` in order. The next attempt starts when one fails, or after [`STAGGER`]. Returns the first connection
/// and drops the other attempts.
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
    async fn a_refused_connection_is_replaced_at_once_and_a_slow_one_is_kept() {
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
