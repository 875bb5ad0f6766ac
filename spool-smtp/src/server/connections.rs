//! Counts open connections, in total and for each client, over all listeners. Dropping its guard frees a place,
//! however the session ended. A listener waits until its places are free.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// The counts of a service.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<ConnectionCounts>,
}

/// The client of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An IPv4 address, or the first address of an IPv6 /64.
    Address(IpAddr),
    /// A user of this machine.
    Local(u32),
}

impl From<IpAddr> for Holder {
    fn from(client: IpAddr) -> Self {
        Self::Address(bucket(client))
    }
}

/// The open connections of one listener. Nothing is sent: the channel closes when all its senders are dropped.
#[derive(Debug)]
pub(super) struct Opened {
    mark: mpsc::Sender<Infallible>,
    gone: mpsc::Receiver<Infallible>,
}

impl Opened {
    pub(super) fn new() -> Self {
        let (mark, gone) = mpsc::channel(1);
        Self { mark, gone }
    }

    /// Waits until no connection of the listener is open.
    pub(super) async fn drained(self) {
        let Self { mark, mut gone } = self;
        drop(mark);
        gone.recv().await;
    }
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    total: usize,
    by_client: HashMap<Holder, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    connections: Arc<Connections>,
    client: Holder,
    _mark: mpsc::Sender<Infallible>,
}

impl Connections {
    /// A place for a connection from `client` to the listener of `opened`, unless `total` or `per_client` are in use already.
    pub(super) fn admit(
        self: &Arc<Self>,
        opened: &Opened,
        client: Holder,
        total: usize,
        per_client: usize,
    ) -> Option<ConnectionSlot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.by_client.get(&client).copied().unwrap_or(0);
        if open.total >= total || taken >= per_client {
            return None;
        }
        open.total += 1;
        open.by_client.insert(client, taken + 1);
        drop(open);
        Some(ConnectionSlot {
            connections: Arc::clone(self),
            client,
            _mark: opened.mark.clone(),
        })
    }
}

impl ConnectionCounts {
    fn leave(&mut self, client: Holder) {
        if let Some(taken) = self.by_client.get_mut(&client) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl ConnectionSlot {
    /// Counts the connection as one of `client` from now on, unless that one has `per_client` already.
    pub(super) fn move_to(&mut self, client: IpAddr, per_client: usize) -> bool {
        let client = client.into();
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.leave(self.client);
        let taken = open.by_client.get(&client).copied().unwrap_or(0);
        let fits = taken < per_client;
        if fits {
            self.client = client;
        }
        *open.by_client.entry(self.client).or_insert(0) += 1;
        fits
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        open.leave(self.client);
    }
}

/// A client with one IPv6 address usually has all 2^64 of its /64.
pub(super) const fn bucket(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let connections = Arc::new(Connections::default());
        let opened = Opened::new();
        let admit = |client: &str| {
            let client = client.parse::<IpAddr>().unwrap();
            connections.admit(&opened, client.into(), 3, 2)
        };
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none());
        drop(first);
        let _third = admit("2001:db8::3").unwrap();
        let _fourth = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.2").is_none());
        drop((_second, _third, _fourth));
        let open = connections.open.lock().unwrap();
        assert!(open.total == 0 && open.by_client.is_empty());
    }

    #[test]
    fn a_connection_through_a_proxy_counts_for_its_client() {
        let connections = Arc::new(Connections::default());
        let opened = Opened::new();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxy = Holder::from(address("192.0.2.1"));
        let mut places: Vec<_> = (0..4)
            .map(|_| connections.admit(&opened, proxy, 9, usize::MAX).unwrap())
            .collect();
        let client = address("2001:db8::1");
        let moved: Vec<_> = places.iter_mut().map(|place| place.move_to(client, 2)).collect();
        assert_eq!(moved, [true, true, false, false]);
        assert!(places[0].move_to(client, 2), "to where it is");
        let beside = address("2001:db8::2").into();
        assert!(connections.admit(&opened, beside, 9, 2).is_none());
        assert_eq!(connections.open.lock().unwrap().by_client[&proxy], 2);
        drop(places);
        let open = connections.open.lock().unwrap();
        assert!(open.total == 0 && open.by_client.is_empty());
    }

    #[test]
    fn a_user_of_the_machine_is_no_address() {
        let connections = Arc::new(Connections::default());
        let opened = Opened::new();
        let address = IpAddr::from([0, 0, 3, 232]).into();
        let _one = connections.admit(&opened, address, 9, 1).unwrap();
        let _other = connections.admit(&opened, Holder::Local(1000), 9, 1).unwrap();
        assert!(connections.admit(&opened, Holder::Local(1000), 9, 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_waits_for_its_own_connections() {
        let connections = Arc::new(Connections::default());
        let (opened, other) = (Opened::new(), Opened::new());
        let admit = |opened| connections.admit(opened, Holder::Local(1), 9, 9).unwrap();
        let (place, _stays) = (admit(&opened), admit(&other));
        let mut drained = std::pin::pin!(opened.drained());
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, drained.as_mut()).await.is_err());
        drop(place);
        tokio::time::timeout(second, drained).await.unwrap();
    }
}
