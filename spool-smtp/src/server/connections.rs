//! Counts open connections, in all and for each client. A place is given back when its guard is dropped, however the
//! session ended.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The counts of one listener.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    /// Told when the last one has gone.
    none_left: Notify,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    /// Waits until no connection is open.
    pub(super) async fn drained(&self) {
        loop {
            // Asked for first: the last one may go in between.
            let none_left = self.none_left.notified();
            if self.open.lock().unwrap_or_else(PoisonError::into_inner).total == 0 {
                return;
            }
            none_left.await;
        }
    }

    /// A place for a connection from `client`, unless `total` or `per_client` are taken already.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr, total: usize, per_client: usize) -> Option<Place> {
        let client = bucket(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.by_client.get(&client).copied().unwrap_or(0);
        if open.total >= total || taken >= per_client {
            return None;
        }
        open.total += 1;
        open.by_client.insert(client, taken + 1);
        drop(open);
        Some(Place {
            connections: Arc::clone(self),
            client,
        })
    }
}

impl Open {
    fn leave(&mut self, client: IpAddr) {
        if let Some(taken) = self.by_client.get_mut(&client) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Place {
    /// Counts the connection as one of `client` from now on, unless that one has `per_client` already.
    pub(super) fn move_to(&mut self, client: IpAddr, per_client: usize) -> bool {
        let client = bucket(client);
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if open.total == 0 {
            self.connections.none_left.notify_waiters();
        }
        open.leave(self.client);
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it.
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
        let admit = |client: &str| connections.admit(client.parse().unwrap(), 3, 2);
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
        let proxy = "192.0.2.1".parse().unwrap();
        let mut places: Vec<_> = (0..4)
            .map(|_| connections.admit(proxy, 9, usize::MAX).unwrap())
            .collect();
        let client = "2001:db8::1".parse().unwrap();
        let moved: Vec<_> = places.iter_mut().map(|place| place.move_to(client, 2)).collect();
        assert_eq!(moved, [true, true, false, false]);
        assert!(places[0].move_to(client, 2), "to where it is");
        assert!(connections.admit("2001:db8::2".parse().unwrap(), 9, 2).is_none());
        assert_eq!(connections.open.lock().unwrap().by_client[&proxy], 2);
        drop(places);
        let open = connections.open.lock().unwrap();
        assert!(open.total == 0 && open.by_client.is_empty());
    }
}
