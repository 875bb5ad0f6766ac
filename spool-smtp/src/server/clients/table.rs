//! A bounded table of clients or of users, with the rule of which entry a new one displaces.
//!
//! An entry with an open connection is never displaced. Of the others, ordinary entries are displaced first, the one idle for
//! longest before the rest. Entries that matter until some time (a limit is reached, a login failed, a login succeeded) may
//! use up to three quarters of the table, and displace each other, the one that matters for the shortest time first.
//! Many new clients therefore end no limit, and many limited clients leave room for the counts of others.

use super::ClientKey;
use super::entry::{ClientEntry, EntryPosition};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The table; see the module.
#[derive(Debug)]
pub(super) struct ClientTable {
    capacity: usize,
    entries: HashMap<ClientKey, ClientEntry>,
    /// Ordinary entries, by their last use.
    passing: BTreeMap<u64, ClientKey>,
    /// Entries that matter, by their time.
    kept: BTreeMap<(Duration, u64), ClientKey>,
    next_stamp: u64,
}

impl ClientTable {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            passing: BTreeMap::new(),
            kept: BTreeMap::new(),
            // 0 is the position of a new entry.
            next_stamp: 1,
        }
    }

    pub(super) fn get(&self, key: &ClientKey) -> Option<&ClientEntry> {
        self.entries.get(key)
    }

    /// Call [`Self::settle`] afterwards.
    pub(super) fn get_mut(&mut self, key: &ClientKey) -> Option<&mut ClientEntry> {
        self.entries.get_mut(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ClientKey, &ClientEntry)> {
        self.entries.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ClientKey, &mut ClientEntry)> {
        self.entries.iter_mut()
    }

    /// The entry of `key`, made if there is none; displaces another if the table is full. Call
    /// [`Self::settle`] afterwards.
    pub(super) fn entry(&mut self, key: &ClientKey, now: Duration) -> &mut ClientEntry {
        if !self.entries.contains_key(key) && self.entries.len() >= self.capacity {
            self.make_room(now);
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.seen = now;
        entry
    }

    /// Sets the position of `key`: it was used now, and matters until `until`; zero: it is ordinary.
    pub(super) fn settle(&mut self, key: &ClientKey, until: Duration) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut entry.position, EntryPosition { stamp, until });
        let is_open = entry.connections > 0;
        self.passing.remove(&before.stamp);
        self.kept.remove(&(before.until, before.stamp));
        match (is_open, until) {
            (true, _) => {}
            (false, Duration::ZERO) => drop(self.passing.insert(stamp, key.clone())),
            (false, until) => drop(self.kept.insert((until, stamp), key.clone())),
        }
    }

    /// Each entry is moved at most once after its use, so this takes logarithmic time, amortized.
    fn make_room(&mut self, now: Duration) {
        while let Some(first) = self.kept.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, stamp), key) = first.remove_entry();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.position.until = Duration::ZERO;
            }
            self.passing.insert(stamp, key);
        }
        let most_kept = self.capacity - self.capacity / 4;
        let key = match self.passing.first_entry() {
            Some(first) if self.kept.len() <= most_kept => Some(first.remove()),
            Some(_) | None => self.kept.pop_first().map(|(_, key)| key),
        };
        let key = key.or_else(|| self.passing.pop_first().map(|(_, key)| key));
        if let Some(key) = key {
            self.entries.remove(&key);
        }
    }

    /// For tests: how many entries there are, and how many of them could be displaced.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.passing.len() + self.kept.len())
    }

    /// For tests: whether each entry without a connection has exactly one position, and no other has one.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let idle = self.entries.values().filter(|entry| entry.connections == 0);
        let stands = |(key, entry): (&ClientKey, &ClientEntry)| {
            let EntryPosition { stamp, until } = entry.position;
            let (passing, kept) = (self.passing.get(&stamp), self.kept.get(&(until, stamp)));
            match (entry.connections, until) {
                (0, Duration::ZERO) => passing == Some(key) && kept.is_none(),
                (0, _) => passing.is_none() && kept == Some(key),
                (_, _) => passing.is_none() && kept.is_none(),
            }
        };
        idle.count() == self.sizes().1 && self.entries.iter().all(stands)
    }
}
