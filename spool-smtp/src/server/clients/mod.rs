//! Counts and limits for each client address, each local user at the Unix socket, and each user who has logged in.
//!
//! An IPv6 client is identified by its /64. Counts are in memory and are lost at a restart. The
//! [ledger](ledger) decides; this file has its lock, its clock, and its public view.

mod entry;
mod ledger;
mod report;
mod table;
mod window;

pub use report::{ClientState, Count, Limited};

use super::reply::{self, ServerReply};
use ledger::ClientLedger;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use spool_core::{Clock, Rate, SystemClock};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// The number of client addresses in the table. An entry takes about 600 bytes.
const MAX_ADDRESSES: usize = 16_384;
/// The number of users in their own table: only a login can displace another user.
const MAX_USERS: usize = 16_384;
/// The span for counts without a limit.
const NO_LIMIT_SPAN: Duration = Duration::from_secs(3600);

/// A client or user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ClientKey {
    /// An IPv4 address, or the first address of an IPv6 /64.
    Address(IpAddr),
    /// A local user, at the Unix socket, with the limits of an address.
    Local(u32),
    /// A user who has logged in.
    User(Arc<str>),
}

impl ClientKey {
    /// A client with one IPv6 address usually has all 2^64 of its /64.
    pub(super) const fn address(client: IpAddr) -> Self {
        Self::Address(match client.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        })
    }

    /// Whether it is a user who has logged in.
    pub(super) const fn is_user(&self) -> bool {
        matches!(self, Self::User(_))
    }

    /// The client, not the user who has logged in, that is shown as `text`.
    fn client(text: &str) -> Option<Self> {
        if let Some(user) = text.strip_prefix("uid:") {
            return user.parse().ok().map(Self::Local);
        }
        let address = text.strip_suffix("/64").unwrap_or(text).parse().ok();
        address.map(Self::address)
    }
}

/// `192.0.2.1`, `2001:db8::/64`, `uid:1000`, or the user's name.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "{v6}/64"),
            Self::Local(user) => write!(f, "uid:{user}"),
            Self::User(name) => f.write_str(name),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Connections that were accepted.
    Connections,
    /// Messages for which DATA or BDAT was accepted.
    Messages,
    /// Recipients that were accepted.
    Recipients,
    /// Logins with a wrong name or password. A repetition of the client's last one is not counted.
    FailedLogins,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Connections,
        Self::Messages,
        Self::Recipients,
        Self::FailedLogins,
    ];

    /// The refusal of one more, which is possible again after `wait`.
    pub(super) fn refusal(self, wait: Duration) -> ServerReply {
        let reply = match self {
            Self::Connections => reply::TOO_MANY_CONNECTIONS_LATELY,
            Self::Messages => reply::TOO_MANY_MESSAGES_LATELY,
            Self::Recipients => reply::TOO_MANY_RECIPIENTS_LATELY,
            Self::FailedLogins => reply::TOO_MANY_FAILED_LOGINS,
        };
        reply.until(wait)
    }
}

/// The rate of each kind for a client or a user; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// New connections of a client.
    pub connections_per_client: Option<Rate>,
    /// Messages of a client that has not logged in.
    pub messages_per_client: Option<Rate>,
    /// Recipients of a client that has not logged in.
    pub recipients_per_client: Option<Rate>,
    /// Failed logins of a client.
    pub failed_logins_per_client: Option<Rate>,
    /// Messages of a user, over all clients.
    pub messages_per_user: Option<Rate>,
    /// Recipients of a user, over all clients.
    pub recipients_per_user: Option<Rate>,
}

impl Limits {
    const fn of(&self, key: &ClientKey, kind: Kind) -> Option<Rate> {
        self.named(key, kind).1
    }

    /// The limit of `kind`, and the key of the configuration that sets it.
    const fn named(&self, key: &ClientKey, kind: Kind) -> (&'static str, Option<Rate>) {
        match (key.is_user(), kind) {
            (false, Kind::Connections) => ("connections_per_client_rate", self.connections_per_client),
            (false, Kind::Messages) => ("messages_per_client", self.messages_per_client),
            (false, Kind::Recipients) => ("recipients_per_client", self.recipients_per_client),
            (false, Kind::FailedLogins) => ("failed_logins_per_client", self.failed_logins_per_client),
            (true, Kind::Messages) => ("messages_per_user", self.messages_per_user),
            (true, Kind::Recipients) => ("recipients_per_user", self.recipients_per_user),
            // Otherwise others' failures could lock a user out.
            (true, Kind::Connections | Kind::FailedLogins) => ("", None),
        }
    }
}

/// The counts and limits of all clients and users. Clones share them.
#[derive(Debug, Clone)]
pub struct Clients {
    ledger: Arc<Mutex<ClientLedger>>,
    /// The number of open connections of all listeners.
    pub(super) connections: Arc<AtomicUsize>,
    clock: Arc<dyn Clock>,
}

impl Clients {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(ClientLedger::new(limits, MAX_ADDRESSES, MAX_USERS))),
            connections: Arc::default(),
            clock,
        }
    }

    /// Changes the limits at once, also for open sessions. Counts are kept unless their span has changed.
    pub fn set_limits(&self, limits: Limits) {
        self.ledger.lock().set_limits(limits);
    }

    /// All clients and users with counts, or connected: limited ones first, then those that
    /// sent the most.
    #[must_use]
    pub fn states(&self) -> Vec<ClientState> {
        let (now, steady) = self.clock.now_and_steady();
        self.ledger.lock().states(now, steady)
    }

    /// Deletes the counts of a client or a user, and with them the current limits. `client` is an address, a network or `uid:N` as
    /// [`ClientState::client`] has it, or the name of a user. Returns whether there were any.
    #[must_use]
    pub fn lift(&self, client: &str) -> bool {
        let key = ClientKey::client(client);
        let mut ledger = self.ledger.lock();
        let lifted = key.is_some_and(|key| ledger.lift(&key));
        ledger.lift(&ClientKey::User(client.into())) || lifted
    }

    /// For tests: counts a new connection of `client`, which is open until the guard is dropped; `None` when it has opened too many.
    #[doc(hidden)]
    pub fn connect(&self, client: IpAddr) -> Option<OpenConnection> {
        self.open(ClientKey::address(client), usize::MAX).ok()
    }

    /// The same for any client or user, which may have `most` open connections.
    pub(super) fn open(&self, key: ClientKey, most: usize) -> Result<OpenConnection, ServerReply> {
        self.with(|ledger, now| {
            if ledger.connections(&key) >= most {
                return Err(reply::TOO_MANY_CONNECTIONS);
            }
            let taken = ledger.take(&key, Kind::Connections, now);
            taken.map_err(|wait| Kind::Connections.refusal(wait))?;
            ledger.opened(&key, now);
            Ok(())
        })?;
        Ok(OpenConnection {
            clients: self.clone(),
            key,
        })
    }

    /// Whether one more of `kind` would be allowed.
    pub(super) fn check(&self, key: &ClientKey, kind: Kind) -> Result<(), ServerReply> {
        match self.with(|ledger, now| ledger.wait(key, kind, now)) {
            Duration::ZERO => Ok(()),
            wait => Err(kind.refusal(wait)),
        }
    }

    /// Counts one more of `kind`, unless the limit is reached.
    pub(super) fn take(&self, key: &ClientKey, kind: Kind) -> Result<(), ServerReply> {
        let taken = self.with(|ledger, now| ledger.take(key, kind, now));
        taken.map_err(|wait| kind.refusal(wait))
    }

    /// Does something with the ledger, which is locked meanwhile, and the monotonic time.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut ClientLedger, Duration) -> T) -> T {
        let now = self.now();
        act(&mut self.ledger.lock(), now)
    }

    /// A monotonic time.
    pub(super) fn now(&self) -> Duration {
        self.clock.now_and_steady().1
    }
}

impl Default for Clients {
    /// Without limits.
    fn default() -> Self {
        Self::new(Limits::default(), Arc::new(SystemClock))
    }
}

/// An open connection of a client or user.
#[derive(Debug)]
#[must_use = "the connection is open until it is dropped"]
pub struct OpenConnection {
    clients: Clients,
    key: ClientKey,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.clients.with(|ledger, now| ledger.closed(&self.key, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{ManualClock, Timestamp};

    #[test]
    fn users_of_the_machine_are_clients_of_their_own() {
        let limits = Limits {
            messages_per_client: Rate::new(1, Duration::from_secs(60)).ok(),
            messages_per_user: Rate::new(9, Duration::from_secs(60)).ok(),
            ..Limits::default()
        };
        let clients = Clients::new(limits, Arc::new(SystemClock));
        let [one, other, address] = ["uid:1000", "uid:1001", "127.0.0.1"].map(|text| {
            let key = ClientKey::client(text).unwrap();
            assert_eq!(key.to_string(), text);
            key
        });
        clients.take(&one, Kind::Messages).unwrap();
        assert!(clients.take(&one, Kind::Messages).is_err());
        assert!(clients.check(&other, Kind::Messages).is_ok());
        assert!(clients.check(&address, Kind::Messages).is_ok());
        let states = clients.states();
        assert_eq!((states[0].client.as_str(), states[0].user), ("uid:1000", false));
        assert_eq!(states[0].limited[0].reason, "messages_per_client: 1/1m");
        assert!(!clients.lift("uid:1001") && !clients.lift("uid:") && !clients.lift("uid:-1"));
        assert!(clients.lift("uid:1000") && clients.check(&one, Kind::Messages).is_ok());
    }

    #[test]
    fn a_client_has_so_many_connections_at_once() {
        let clients = Clients::default();
        let address = |text: &str| ClientKey::address(text.parse().unwrap());
        let first = clients.open(address("2001:db8::1"), 2).unwrap();
        let _second = clients.open(address("2001:db8::2"), 2).unwrap();
        let third = clients.open(address("2001:db8::3"), 2);
        assert_eq!(third.unwrap_err(), reply::TOO_MANY_CONNECTIONS);
        drop(first);
        let _third = clients.open(address("2001:db8::3"), 2).unwrap();
        // A user of the machine is no address.
        let _one = clients.open(address("0.0.3.232"), 1).unwrap();
        let _other = clients.open(ClientKey::Local(1000), 1).unwrap();
        assert!(clients.open(ClientKey::Local(1000), 1).is_err());
    }

    #[test]
    fn clients_are_listed_and_their_limits_lifted_by_name() {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let limits = Limits {
            messages_per_client: Rate::new(2, Duration::from_secs(60)).ok(),
            ..Limits::default()
        };
        let clients = Clients::new(limits, Arc::new(clock.clone()));
        let six = "2001:db8::1".parse().unwrap();
        let open = clients.connect(six).unwrap();
        let key = ClientKey::address("2001:db8::ffff".parse().unwrap());
        for _ in 0..2 {
            clients.take(&key, Kind::Messages).unwrap();
        }
        assert!(clients.check(&key, Kind::Messages).is_err());
        let user = clients.open(ClientKey::User("ada".into()), 1).unwrap();
        let states = clients.states();
        assert_eq!(states.len(), 2);
        assert_eq!(
            (states[0].client.as_str(), states[0].connections),
            ("2001:db8::/64", 1)
        );
        assert_eq!(states[0].messages.count, 2);
        assert_eq!(states[0].limited[0].what, Kind::Messages);
        assert!(states[0].limited[0].until > Timestamp(1_060_000), "{states:?}");
        assert_eq!(states[0].limited[0].reason, "messages_per_client: 2/1m");
        assert_eq!((states[1].client.as_str(), states[1].user), ("ada", true));
        assert!(!clients.lift("192.0.2.1") && !clients.lift("bob"));
        assert!(clients.lift("2001:db8::77") && clients.lift("2001:db8::/64") && clients.lift("ada"));
        assert!(clients.check(&key, Kind::Messages).is_ok());
        drop((open, user));
        clock.advance(Duration::from_secs(4000));
        assert_eq!(clients.states(), []);
    }
}
