//! Who sends how much, and who sends too much: counts and limits for each client address, each user of this machine at the Unix
//! socket, and each user who has logged in.
//!
//! An IPv6 client is its /64. What is counted lives in memory and is gone with a restart. The decisions are the
//! [ledger](ledger)'s; here are its lock, its clock, and what people see of it.

mod ledger;
mod report;
mod table;
mod window;

pub use report::{ClientState, Count, Limited};

use super::auth::Tag;
use super::connections::{Connections, bucket};
use ledger::Ledger;
use serde::{Deserialize, Serialize};
use spool_core::{Clock, Rate, SystemClock};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Client addresses that are known at once. An entry takes about 600 bytes.
const MAX_ADDRESSES: usize = 16_384;
/// Users that are known at once, apart from the addresses: nobody makes another forgotten without a login.
const MAX_USERS: usize = 16_384;
/// In which time things are counted that nothing limits.
const NO_LIMIT_SPAN: Duration = Duration::from_secs(3600);

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ClientKey {
    /// An IPv4 address, or the first address of an IPv6 /64.
    Address(IpAddr),
    /// A user of this machine, at the Unix socket. It has the limits of an address.
    Local(u32),
    /// Someone who has logged in.
    User(Arc<str>),
}

impl ClientKey {
    pub(super) const fn address(client: IpAddr) -> Self {
        Self::Address(bucket(client))
    }

    /// Whether it is someone who has logged in.
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
    /// Messages that were let into DATA.
    Messages,
    /// Recipients that were accepted.
    Recipients,
    /// Logins with a wrong name or password. Of a client, the same again as the last one is not counted.
    FailedLogins,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Connections,
        Self::Messages,
        Self::Recipients,
        Self::FailedLogins,
    ];
}

/// How much of each kind a client or a user may do in a time; `None`: any number.
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
        match (key, kind) {
            (ClientKey::Address(_) | ClientKey::Local(_), Kind::Connections) => self.connections_per_client,
            (ClientKey::Address(_) | ClientKey::Local(_), Kind::Messages) => self.messages_per_client,
            (ClientKey::Address(_) | ClientKey::Local(_), Kind::Recipients) => self.recipients_per_client,
            (ClientKey::Address(_) | ClientKey::Local(_), Kind::FailedLogins) => {
                self.failed_logins_per_client
            }
            (ClientKey::User(_), Kind::Messages) => self.messages_per_user,
            (ClientKey::User(_), Kind::Recipients) => self.recipients_per_user,
            // A user who could be locked out by others' failures would be.
            (ClientKey::User(_), Kind::Connections | Kind::FailedLogins) => None,
        }
    }
}

/// The counts and limits of all clients and users. Clones share them.
#[derive(Debug, Clone)]
pub struct Clients {
    ledger: Arc<Mutex<Ledger>>,
    connections: Arc<Connections>,
    clock: Arc<dyn Clock>,
}

impl Clients {
    /// Nobody known yet.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new(limits, MAX_ADDRESSES, MAX_USERS))),
            connections: Arc::default(),
            clock,
        }
    }

    /// Changes the limits at once, for sessions that are open too. Counts stay, except where the span has changed.
    pub fn set_limits(&self, limits: Limits) {
        self.ledger().set_limits(limits);
    }

    /// Everyone who did something in the time in which it is counted, or is connected: who is limited first, then who
    /// sent the most.
    #[must_use]
    pub fn states(&self) -> Vec<ClientState> {
        let (now, steady) = self.clock.now_and_steady();
        let lines = self.ledger().lines(steady);
        report::states(lines, now, steady)
    }

    /// Forgets what a client or a user did, so that nothing limits them for now. `client` is an address, a network or `uid:N` as
    /// [`ClientState::client`] has it, or the name of a user. Gives whether there was anything to forget.
    #[must_use]
    pub fn lift(&self, client: &str) -> bool {
        let key = ClientKey::client(client);
        let mut ledger = self.ledger();
        let lifted = key.is_some_and(|key| ledger.lift(&key));
        ledger.lift(&ClientKey::User(client.into())) || lifted
    }

    /// The open connections of all listeners.
    pub(super) const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Counts a new connection of `client`, which is open until the guard is dropped.
    ///
    /// # Errors
    /// How long to wait, when it has opened too many.
    pub fn connect(&self, client: IpAddr) -> Result<Open, Duration> {
        self.connect_as(ClientKey::address(client))
    }

    /// The same for any client.
    pub(super) fn connect_as(&self, key: ClientKey) -> Result<Open, Duration> {
        let now = self.now();
        let mut ledger = self.ledger();
        ledger.take(&key, Kind::Connections, now)?;
        ledger.opened(&key, now);
        drop(ledger);
        Ok(Open {
            clients: self.clone(),
            key,
        })
    }

    /// Someone has logged in on a connection; he is connected until the guard is dropped.
    pub(super) fn open(&self, key: ClientKey) -> Open {
        let now = self.now();
        let mut ledger = self.ledger();
        ledger.count(&key, Kind::Connections, now);
        ledger.opened(&key, now);
        drop(ledger);
        Open {
            clients: self.clone(),
            key,
        }
    }

    /// Whether one more of `kind` would be let through.
    pub(super) fn check(&self, key: &ClientKey, kind: Kind) -> Result<(), Duration> {
        let now = self.now();
        match self.ledger().wait(key, kind, now) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Counts one more of `kind`, unless the limit is reached: then how long to wait.
    pub(super) fn take(&self, key: &ClientKey, kind: Kind) -> Result<(), Duration> {
        let now = self.now();
        self.ledger().take(key, kind, now)
    }

    /// What was taken last did not happen.
    pub(super) fn give_back(&self, key: &ClientKey, kind: Kind) {
        self.ledger().give_back(key, kind);
    }

    pub(super) fn login_delay(&self, key: &ClientKey) -> Result<Duration, Duration> {
        let now = self.now();
        self.ledger().login_delay(key, now)
    }

    /// A login from `key` has failed; for `user`, if there is one of that name.
    pub(super) fn login_failed(&self, key: &ClientKey, user: Option<&Arc<str>>, credentials: Tag) {
        let now = self.now();
        let mut ledger = self.ledger();
        ledger.login_failed(key, credentials, now);
        if let Some(user) = user {
            ledger.count(&ClientKey::User(Arc::clone(user)), Kind::FailedLogins, now);
        }
    }

    pub(super) fn has_failed(&self, key: &ClientKey, credentials: &Tag) -> bool {
        self.ledger().has_failed(key, credentials)
    }

    pub(super) fn logged_in(&self, key: &ClientKey) {
        let now = self.now();
        self.ledger().logged_in(key, now);
    }

    pub(super) fn is_known(&self, key: &ClientKey) -> bool {
        let now = self.now();
        self.ledger().is_known(key, now)
    }

    /// Time that nobody can set.
    pub(super) fn now(&self) -> Duration {
        self.clock.now_and_steady().1
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clients {
    /// Without limits.
    fn default() -> Self {
        Self::new(Limits::default(), Arc::new(SystemClock))
    }
}

/// Someone's open connection.
#[derive(Debug)]
#[must_use = "the connection is open until it is dropped"]
pub struct Open {
    clients: Clients,
    key: ClientKey,
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = self.clients.now();
        self.clients.ledger().closed(&self.key, now);
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
    fn a_client_is_listed_while_it_is_connected_or_did_something_and_lifted_by_its_name() {
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
        let user = clients.open(ClientKey::User("ada".into()));
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
