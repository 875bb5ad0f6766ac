//! The index: where the last word on every live message stands, and which segments are still needed.
//!
//! A segment is needed while a live message's add, latest state or latest mark stands in it; and while it says that
//! a message has ended whose add stands in an older segment that is still on disk. It does no input or output.

use super::segment::{Place, Seq};
use crate::id::MessageId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Where a live message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) add: Place,
    /// Which of the add's messages it is.
    pub(super) section: u32,
    /// Its place in the list that recovery gathers; of no meaning later. It fits into what alignment leaves unused.
    pub(super) slot: u32,
    pub(super) state: Option<Place>,
    /// A mark later than the state.
    pub(super) mark: Option<Place>,
}

#[derive(Debug, Default)]
struct Use {
    pins: u64,
    /// Segments with adds that ended here.
    ended: BTreeSet<Seq>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    messages: HashMap<MessageId, Entry, BuildHasherDefault<IdHasher>>,
    segments: BTreeMap<Seq, Use>,
    /// Whether a segment may have come free since [`Index::take_free`] last looked.
    changed: bool,
}

impl Index {
    /// Number of live messages.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Number of segments on disk.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn get(&self, id: MessageId) -> Option<Entry> {
        self.messages.get(&id).copied()
    }

    pub(super) fn get_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        self.messages.get_mut(&id)
    }

    /// Every live message.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MessageId, Entry)> {
        self.messages.iter().map(|(id, entry)| (*id, *entry))
    }

    /// Whether a segment may have come free since [`Index::take_free`] last looked.
    pub(super) const fn has_changed(&self) -> bool {
        self.changed
    }

    /// A segment is on disk.
    pub(super) fn open_segment(&mut self, seq: Seq) {
        self.segments.entry(seq).or_default();
        self.changed = true;
    }

    /// A segment is off the disk for good.
    pub(super) fn drop_segment(&mut self, seq: Seq) {
        self.segments.remove(&seq);
        self.changed = true;
    }

    /// A new message; `false` when the id is taken.
    pub(super) fn add(&mut self, id: MessageId, add: Place, section: u32, slot: u32) -> bool {
        if self.messages.contains_key(&id) {
            return false;
        }
        let entry = Entry {
            add,
            section,
            slot,
            state: None,
            mark: None,
        };
        self.messages.insert(id, entry);
        self.pin(add.seq);
        true
    }

    /// A new mark; `false` for an unknown id.
    pub(super) fn mark(&mut self, id: MessageId, place: Place) -> bool {
        let Some(entry) = self.messages.get_mut(&id) else {
            return false;
        };
        let old = entry.mark.replace(place);
        self.pin(place.seq);
        self.unpin(old);
        true
    }

    /// A new state, which no earlier mark touches; `false` for an unknown id.
    pub(super) fn state(&mut self, id: MessageId, place: Place) -> bool {
        let Some(entry) = self.messages.get_mut(&id) else {
            return false;
        };
        let old = [entry.state.replace(place), entry.mark.take()];
        self.pin(place.seq);
        old.into_iter().for_each(|place| self.unpin(place));
        true
    }

    /// The end of a message, as segment `seq` says; gives what it was.
    pub(super) fn finish(&mut self, id: MessageId, seq: Seq) -> Option<Entry> {
        let entry = self.messages.remove(&id)?;
        if entry.add.seq != seq {
            self.segments.entry(seq).or_default().ended.insert(entry.add.seq);
        }
        self.unpin(Some(entry.add));
        self.unpin(entry.state);
        self.unpin(entry.mark);
        Some(entry)
    }

    /// Segments before `head` that can be taken off the disk now. Those that only wait for these come up once
    /// [`Index::drop_segment`] has been told.
    pub(super) fn take_free(&mut self, head: Option<Seq>) -> Vec<Seq> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let needed =
            |usage: &Use| usage.pins > 0 || usage.ended.iter().any(|old| self.segments.contains_key(old));
        let all = self.segments.iter().filter(|(seq, _)| Some(**seq) != head);
        all.filter(|(_, usage)| !needed(usage))
            .map(|(seq, _)| *seq)
            .collect()
    }

    fn pin(&mut self, seq: Seq) {
        self.segments.entry(seq).or_default().pins += 1;
    }

    fn unpin(&mut self, place: Option<Place>) {
        if let Some(usage) = place.and_then(|place| self.segments.get_mut(&place.seq)) {
            usage.pins = usage.pins.saturating_sub(1);
            self.changed |= usage.pins == 0;
        }
    }
}

/// Ids are made by the spool, from random bits and a counter: one multiplication spreads them well enough.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn write_u128(&mut self, number: u128) {
        let folded = number as u64 ^ (number >> 64) as u64 ^ self.0.rotate_left(5);
        self.0 = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(seq: u32, offset: u32) -> Place {
        let seq = Seq::new(seq).unwrap();
        Place { seq, offset }
    }

    fn id(number: u128) -> MessageId {
        MessageId::from_u128(number)
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(MessageId, Entry)>() <= 48);
    }

    #[test]
    fn the_end_of_a_message_outlives_its_add() {
        let mut index = Index::default();
        let [one, two, three] = [1, 2, 3].map(|seq| Seq::new(seq).unwrap());
        for seq in [one, two, three] {
            index.open_segment(seq);
        }
        index.add(id(1), place(1, 32), 0, 0);
        index.add(id(2), place(1, 99), 0, 0);
        index.finish(id(1), two);
        assert!(
            index.take_free(Some(three)).is_empty(),
            "1 is pinned, 2 holds an end for it"
        );
        index.finish(id(2), three);
        assert_eq!(index.take_free(Some(three)), [one]);
        assert!(
            index.take_free(Some(three)).is_empty(),
            "2 waits until 1 is gone for good"
        );
        index.drop_segment(one);
        assert_eq!(index.take_free(Some(three)), [two]);
    }

    #[test]
    fn a_newer_state_frees_the_older_one_and_its_marks() {
        let mut index = Index::default();
        let four = Seq::new(4);
        index.add(id(1), place(1, 32), 0, 0);
        assert!(index.mark(id(1), place(2, 32)));
        assert!(index.take_free(four).is_empty());
        assert!(index.state(id(1), place(3, 32)));
        assert_eq!(index.take_free(four), [Seq::new(2).unwrap()]);
        assert!(!index.state(id(9), place(3, 64)));
        assert!(!index.mark(id(9), place(3, 64)));
        assert!(index.finish(id(9), Seq::MIN).is_none());
    }
}
