//! The pool that checks passwords against their hashes, with bounds on memory, time and waiting.
//!
//! - At most two hashes run at once, in [slots](super::hash_slots) with two bounded queues. Clients that have logged in
//!   recently come before unknown clients: however many of these wait, a known client waits for one hash.
//! - The logins of one client are checked one after the other. After a failure the next one waits 1, 2, 4 ... 30 s, without a
//!   slot, in a queue that is bounded too.
//! - Concurrent logins of one client with the same credentials, such as those of a server that opens many connections, wait for the
//!   first of them, outside that queue, and share its success. They do not share a failure: after one, all enter the queue.
//! - An unknown name takes as long as a known one.
//! - The same credentials from the same client are not hashed twice: a success is remembered for five minutes, the last
//!   failure until the next one.

use super::hash_slots::HashSlots;
use super::password::{HashMemory, PasswordHash};
use super::recent_logins::RecentLogins;
use super::sasl::LoginAttempt;
use super::tag::{Tag, TagKey};
use super::users::{User, Users};
use crate::server::clients::{ClientKey, Clients, Kind};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{error, info};

/// Concurrent hashes.
const SLOTS: usize = 2;
/// Concurrent logins of one client: one is checked, the others wait for it.
const OF_ONE_CLIENT: usize = 5;
/// Blocks of 1 KiB that are kept for the next hash. Larger ones are rare and are freed.
const KEPT_BLOCKS: usize = 32 << 10;

/// The result of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum LoginResult {
    /// It is this user.
    Accepted(Arc<User>),
    /// There is no such user, or the password is wrong.
    Refused,
    /// Too many logins wait.
    Busy,
    /// Too many logins have failed; the client may try again after this time.
    Limited(Duration),
}

/// The users, and the pool that checks their passwords. Clones share both.
#[derive(Debug, Clone)]
pub struct Logins(Arc<LoginPool>);

#[derive(Debug)]
struct LoginPool {
    table: RwLock<Option<UserTable>>,
    clients: Clients,
    slots: HashSlots,
    turns: Mutex<HashMap<ClientKey, Turns>>,
    successes: Mutex<RecentLogins>,
    /// Memory of hashes that have ended; as many as there are slots.
    spare: Arc<Mutex<Vec<HashMemory>>>,
}

/// The users; tags are compared only under the same key.
#[derive(Debug, Clone)]
struct UserTable {
    users: Arc<Users>,
    key: TagKey,
}

/// The running logins of one client.
#[derive(Debug)]
struct Turns {
    one: Arc<Semaphore>,
    /// Their credentials, and a channel that is closed when they end; at most [`OF_ONE_CLIENT`].
    running: Vec<(Tag, watch::Receiver<()>)>,
}

/// A running login.
struct LoginTurn<'p> {
    logins: &'p Logins,
    client: ClientKey,
    tag: Tag,
    /// `None` while another is checked.
    one: Option<OwnedSemaphorePermit>,
    /// Dropped after the turn was removed.
    _ends: watch::Sender<()>,
}

impl Logins {
    /// Without users. Failures are counted in `clients`.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self(Arc::new(LoginPool {
            table: RwLock::new(None),
            clients,
            slots: HashSlots::new(SLOTS),
            turns: Mutex::default(),
            successes: Mutex::default(),
            spare: Arc::default(),
        }))
    }

    /// Replaces the users; `None`: AUTH is not offered. A removed user, or one with a changed password, submits no
    /// more mail, also in open sessions.
    pub fn set_users(&self, users: Option<Users>) {
        let table = users.and_then(|users| {
            let key = TagKey::random();
            if key.is_none() {
                error!("the system gives no random numbers: nobody may log in");
            }
            Some(UserTable {
                users: Arc::new(users),
                key: key?,
            })
        });
        *self.0.table.write() = table;
        self.0.successes.lock().clear();
    }

    /// Whether there is a user.
    pub(in crate::server) fn are_offered(&self) -> bool {
        self.0.table.read().is_some()
    }

    /// The current entry of the user; `None` if the user was removed, or the password changed.
    pub(in crate::server) fn current(&self, user: &User) -> Option<Arc<User>> {
        let table = self.table()?;
        let now = table.users.get(user.name())?;
        (now.hash() == user.hash()).then(|| Arc::clone(now))
    }

    /// The user of this name, who has logged in elsewhere.
    pub(in crate::server) fn named(&self, name: &str) -> Option<Arc<User>> {
        self.table()?.users.get(name).cloned()
    }

    /// For tests: the users.
    #[cfg(test)]
    pub(in crate::server) fn users_of_test(&self) -> Option<Arc<Users>> {
        self.table().map(|table| table.users)
    }

    fn table(&self) -> Option<UserTable> {
        self.0.table.read().clone()
    }

    /// Checks the credentials of the client at `client`. Takes at most the delays of the logins before it,
    /// and their hashes.
    pub(in crate::server) async fn check(&self, client: IpAddr, attempt: LoginAttempt) -> LoginResult {
        let (client, clients) = (ClientKey::address(client), &self.0.clients);
        let Some(table) = self.table() else {
            return LoginResult::Busy;
        };
        let tag = table.key.tag(&attempt);
        if let Some(user) = self.remembered(&table, &client, &attempt, &tag) {
            return LoginResult::Accepted(user);
        }
        // A login that is given up, or finds no slot, has no result to share.
        while !self.has_failed(&client, &tag)
            && let Some(mut same) = self.same(&client, &tag)
        {
            // Nothing is ever sent.
            let _ = same.changed().await;
            if let Some(user) = self.remembered(&table, &client, &attempt, &tag) {
                return LoginResult::Accepted(user);
            }
        }
        let Some(_turn) = self.turn(&client, tag).await else {
            return LoginResult::Busy;
        };
        match clients.with(|ledger, now| ledger.login_delay(&client, now)) {
            Ok(delay) => tokio::time::sleep(delay).await,
            Err(wait) => return LoginResult::Limited(wait),
        }
        // The previous login may have been the same.
        if let Some(user) = self.remembered(&table, &client, &attempt, &tag) {
            return LoginResult::Accepted(user);
        }
        let user = table.users.get(&attempt.name.0).cloned();
        // An unknown name is refused, whatever the result.
        let hash = user
            .as_ref()
            .map_or_else(|| table.users.dummy(), |user| user.hash().clone());
        let is_his = match self.has_failed(&client, &tag) {
            true => Some(false),
            false => self.hash(&client, hash, &attempt).await,
        };
        match (is_his, user) {
            (None, _) => LoginResult::Busy,
            (Some(true), Some(user)) => {
                clients.with(|ledger, now| ledger.logged_in(&client, now));
                self.0
                    .successes
                    .lock()
                    .remember(&client, user.name(), tag, clients.now());
                LoginResult::Accepted(user)
            }
            (Some(_), user) => {
                let name = user.as_ref().map(|user| user.name());
                // Not the name as sent: it may be a password.
                info!(%client, user = name.map_or("unknown", |name| &**name), "login refused");
                clients.with(|ledger, now| {
                    ledger.login_failed(&client, tag, now);
                    if let Some(name) = name {
                        ledger.count(&ClientKey::User(Arc::clone(name)), Kind::FailedLogins, now);
                    }
                });
                LoginResult::Refused
            }
        }
    }

    fn has_failed(&self, client: &ClientKey, tag: &Tag) -> bool {
        self.0.clients.with(|ledger, _| ledger.has_failed(client, tag))
    }

    fn remembered(
        &self,
        table: &UserTable,
        client: &ClientKey,
        attempt: &LoginAttempt,
        tag: &Tag,
    ) -> Option<Arc<User>> {
        let user = table.users.get(&attempt.name.0)?;
        let now = self.0.clients.now();
        self.0
            .successes
            .lock()
            .knows(client, &attempt.name.0, tag, now)
            .then(|| Arc::clone(user))
    }

    /// The end of a running login of `client` with these credentials.
    fn same(&self, client: &ClientKey, tag: &Tag) -> Option<watch::Receiver<()>> {
        let turns = self.0.turns.lock();
        let mut running = turns.get(client)?.running.iter();
        let (_, ended) = running.find(|(other, _)| other == tag)?;
        Some(ended.clone())
    }

    /// Waits until the logins of `client` before this one are over; `None`: too many wait.
    async fn turn(&self, client: &ClientKey, tag: Tag) -> Option<LoginTurn<'_>> {
        let (ends, ended) = watch::channel(());
        let one = {
            let mut turns = self.0.turns.lock();
            let turns = turns.entry(client.clone()).or_insert_with(|| Turns {
                one: Arc::new(Semaphore::new(1)),
                running: Vec::new(),
            });
            if turns.running.len() >= OF_ONE_CLIENT {
                return None;
            }
            turns.running.push((tag, ended));
            Arc::clone(&turns.one)
        };
        // Counted from here on, also when the wait is given up.
        let mut turn = LoginTurn {
            logins: self,
            client: client.clone(),
            tag,
            one: None,
            _ends: ends,
        };
        turn.one = Some(one.acquire_owned().await.ok()?);
        Some(turn)
    }

    fn leave(&self, client: &ClientKey, tag: &Tag) {
        let mut turns = self.0.turns.lock();
        if let Some(of_client) = turns.get_mut(client) {
            // Any of several with the same credentials: they have failed before, so no other login waits for them.
            let place = of_client.running.iter().position(|(other, _)| other == tag);
            place.map(|place| of_client.running.swap_remove(place));
            if of_client.running.is_empty() {
                turns.remove(client);
            }
        }
    }

    /// Whether `hash` is of the attempt's password, checked in one of the slots; `None`: too many wait for one.
    async fn hash(&self, client: &ClientKey, hash: PasswordHash, attempt: &LoginAttempt) -> Option<bool> {
        let is_known = self.0.clients.with(|ledger, now| ledger.is_known(client, now));
        let slot = self.0.slots.find(is_known).await?;
        let (password, spare) = (attempt.password.0.clone(), Arc::clone(&self.0.spare));
        let hashing = tokio::task::spawn_blocking(move || {
            let mut memory = spare.lock().pop().unwrap_or_default();
            let is_of = hash.is_of(&password, &mut memory);
            if memory.len() <= KEPT_BLOCKS {
                spare.lock().push(memory);
            }
            // Held until here, even if the caller no longer waits.
            drop(slot);
            is_of
        });
        hashing.await.ok()
    }
}

impl Default for Logins {
    fn default() -> Self {
        Self::new(Clients::default())
    }
}

impl Drop for LoginTurn<'_> {
    fn drop(&mut self) {
        self.one = None;
        self.logins.leave(&self.client, &self.tag);
    }
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
