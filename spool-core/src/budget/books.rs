//! The accounts of a [`Budget`](super::Budget), under its lock: how much is held for which purpose, who waits, and what fits. It wakes nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

#[derive(Debug, Default)]
pub(super) struct Books {
    /// Bytes that may be held.
    pub(super) limit: u64,
    /// Bytes held in total.
    pub(super) used: u64,
    /// The part of it that was read from disk.
    pub(super) reading: u64,
    /// The part of it that is used by listings.
    pub(super) looking: u64,
    /// Bytes of the index of queued messages; not part of `used`.
    pub(super) standing: u64,
    pub(super) next_ticket: u64,
    /// The waiters, in order.
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// Waiters that were granted memory and have not noticed. Their bytes are held.
    pub(super) granted: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) bytes: u64,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Mail,
    Reading,
    Looking,
}

impl Books {
    /// Bytes for the contents of mail: what the index leaves, and at least a quarter of the limit.
    pub(super) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.standing).max(self.limit / 4)
    }

    /// The bytes reserved for the first in line, if the share of mail read from disk allows it.
    fn claim(&self, room: u64) -> Option<u64> {
        let (_, first) = self.waiting.first_key_value()?;
        let entitled = self.reading == 0 || self.reading.saturating_add(first.bytes) <= room / 2;
        entitled.then_some(first.bytes)
    }

    pub(super) fn fits(&self, purpose: Purpose, bytes: u64) -> bool {
        let room = self.room();
        let sum = self
            .used
            .saturating_add(bytes)
            .saturating_add(self.claim(room).unwrap_or(0));
        let share = match purpose {
            Purpose::Looking => self.looking == 0 || self.looking.saturating_add(bytes) <= room / 4,
            Purpose::Mail | Purpose::Reading => true,
        };
        share && sum <= room
    }

    pub(super) fn take(&mut self, purpose: Purpose, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        if let Some(part) = self.part(purpose) {
            *part = part.saturating_add(bytes);
        }
    }

    pub(super) fn give(&mut self, purpose: Purpose, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(part) = self.part(purpose) {
            *part = part.saturating_sub(bytes);
        }
    }

    const fn part(&mut self, purpose: Purpose) -> Option<&mut u64> {
        match purpose {
            Purpose::Mail => None,
            Purpose::Reading => Some(&mut self.reading),
            Purpose::Looking => Some(&mut self.looking),
        }
    }

    /// Grants memory to the line in order, as far as there is room; returns whom to wake. A request larger than the
    /// whole room is granted when nothing else is held: every message must be deliverable.
    pub(super) fn serve(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        let room = self.room();
        while let Some(bytes) = self.claim(room) {
            let alone = self.used == 0 && self.granted.is_empty();
            if !alone && self.used.saturating_add(bytes) > room {
                break;
            }
            let Some((ticket, waiter)) = self.waiting.pop_first() else {
                break;
            };
            self.take(Purpose::Reading, bytes);
            self.granted.insert(ticket);
            woken.extend(waiter.waker);
        }
        woken
    }
}
