//! The index: where the latest records of every live message are, and which segments are still needed.
//!
//! A segment is needed while it holds the add, or the latest state, mark or route of a live message; and while it
//! records the end of a message whose add is in an older segment that is still on disk. No input or output.

use super::ids::Ids;
use crate::id::MessageId;
use crate::store::journal::frame::Place;
use crate::store::layout::Seq;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Where the records of a live message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) add: Place,
    /// Which of the add's messages it is.
    pub(in crate::store) section: u32,
    /// Its share of the add's frame, in bytes.
    pub(in crate::store) weight: u32,
    pub(in crate::store) state: Option<Place>,
    /// A mark newer than the state.
    pub(in crate::store) mark: Option<Place>,
    /// The route, if it was changed since the add.
    pub(in crate::store) route: Option<Place>,
}

/// An [`Entry`] as stored for each live message.
#[derive(Debug, Clone, Copy)]
struct Kept {
    add: Place,
    section: u32,
    weight: u32,
    state: Option<Place>,
    mark: Option<Place>,
}

#[derive(Debug, Default)]
struct Use {
    pins: u64,
    /// Bytes of frames in the segment.
    size: u64,
    /// Bytes of adds of live messages.
    live: u64,
    /// Pins by states, marks and routes; how many of them were written, and their bytes.
    small_pins: u64,
    smalls: u64,
    small_size: u64,
    /// Older segments with adds of messages whose end is recorded here.
    ended: BTreeSet<Seq>,
}

impl Use {
    /// About how many bytes of the segment are still needed.
    fn needed(&self) -> u64 {
        let small = (self.small_size * self.small_pins).checked_div(self.smalls);
        self.live + small.unwrap_or(0)
    }
}

/// The index.
#[derive(Debug, Default)]
pub(in crate::store) struct Index {
    messages: Ids<Kept>,
    /// Only of messages whose route was changed: usually few.
    routes: Ids<Place>,
    segments: BTreeMap<Seq, Use>,
    /// Whether a segment may have become free since the last [`Index::take_free`].
    changed: bool,
}

impl Index {
    pub(in crate::store) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Number of segments on disk.
    pub(in crate::store) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The first segment on disk within `from`.
    pub(in crate::store) fn next_segment(&self, from: Bound<Seq>) -> Option<Seq> {
        self.segments
            .range((from, Bound::Unbounded))
            .next()
            .map(|(seq, _)| *seq)
    }

    /// Whether the segment is on disk.
    pub(in crate::store) fn is_on_disk(&self, seq: Seq) -> bool {
        self.segments.contains_key(&seq)
    }

    pub(in crate::store) fn get(&self, id: MessageId) -> Option<Entry> {
        self.messages.get(&id).map(|kept| self.entry(id, kept))
    }

    fn entry(&self, id: MessageId, kept: &Kept) -> Entry {
        let Kept {
            add,
            section,
            weight,
            state,
            mark,
        } = *kept;
        let route = self.routes.get(&id).copied();
        Entry {
            add,
            section,
            weight,
            state,
            mark,
            route,
        }
    }

    /// Every live message.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = (MessageId, Entry)> {
        self.messages
            .iter()
            .map(|(id, kept)| (*id, self.entry(*id, kept)))
    }

    /// Reserves room for `more` messages, so that adding them is fast.
    pub(in crate::store) fn reserve(&mut self, more: usize) {
        self.messages.reserve(more);
    }

    /// Adds the messages and segments of `later`, which this index does not have.
    pub(in crate::store) fn absorb(&mut self, later: Self) {
        self.messages.extend(later.messages);
        self.routes.extend(later.routes);
        self.segments.extend(later.segments);
        self.changed = true;
    }

    pub(in crate::store) const fn has_changed(&self) -> bool {
        self.changed
    }

    /// A segment is on disk.
    pub(in crate::store) fn open_segment(&mut self, seq: Seq) {
        self.segments.entry(seq).or_default();
        self.changed = true;
    }

    /// Keeps a segment on disk.
    pub(in crate::store) fn keep(&mut self, seq: Seq) {
        self.segments.entry(seq).or_default().pins += 1;
    }

    /// A segment was deleted, durably.
    pub(in crate::store) fn drop_segment(&mut self, seq: Seq) {
        self.segments.remove(&seq);
        self.changed = true;
    }

    /// A frame of `length` bytes was written to `seq`. `small`: a state, a mark or a route.
    pub(in crate::store) fn wrote(&mut self, seq: Seq, length: u64, small: bool) {
        let usage = self.segments.entry(seq).or_default();
        usage.size += length;
        if small {
            usage.smalls += 1;
            usage.small_size += length;
        }
    }

    /// Adds a message; `false` when the id is taken.
    pub(in crate::store) fn add(&mut self, id: MessageId, add: Place, section: u32, weight: u32) -> bool {
        if self.messages.contains_key(&id) {
            return false;
        }
        let kept = Kept {
            add,
            section,
            weight,
            state: None,
            mark: None,
        };
        self.messages.insert(id, kept);
        self.pin_add(add.seq, weight);
        true
    }

    /// A message was moved with its state; an unknown message is added.
    pub(in crate::store) fn relocate(&mut self, id: MessageId, add: Place, section: u32, weight: u32) {
        if let Some(entry) = self.take(id) {
            if entry.add.seq != add.seq {
                // While the old add is on disk, the new segment must stay: it stands for the records that the old add
                // lacks.
                self.segments
                    .entry(add.seq)
                    .or_default()
                    .ended
                    .insert(entry.add.seq);
            }
            self.unpin_all(&entry);
        }
        self.add(id, add, section, weight);
    }

    /// A new mark; `false` for an unknown id.
    pub(in crate::store) fn mark(&mut self, id: MessageId, place: Place) -> bool {
        let Some(entry) = self.messages.get_mut(&id) else {
            return false;
        };
        let old = entry.mark.replace(place);
        self.pin_small(place.seq);
        self.unpin_small(old);
        true
    }

    /// A new state, which replaces earlier marks; `false` for an unknown id.
    pub(in crate::store) fn state(&mut self, id: MessageId, place: Place) -> bool {
        let Some(entry) = self.messages.get_mut(&id) else {
            return false;
        };
        let old = [entry.state.replace(place), entry.mark.take()];
        self.pin_small(place.seq);
        old.into_iter().for_each(|place| self.unpin_small(place));
        true
    }

    /// A new route; `false` for an unknown id.
    pub(in crate::store) fn route(&mut self, id: MessageId, place: Place) -> bool {
        if !self.messages.contains_key(&id) {
            return false;
        }
        let old = self.routes.insert(id, place);
        self.pin_small(place.seq);
        self.unpin_small(old);
        true
    }

    fn take(&mut self, id: MessageId) -> Option<Entry> {
        let entry = self.get(id)?;
        self.messages.remove(&id);
        self.routes.remove(&id);
        Some(entry)
    }

    /// A message ended, as recorded in segment `seq`; returns its entry.
    pub(in crate::store) fn finish(&mut self, id: MessageId, seq: Seq) -> Option<Entry> {
        let entry = self.take(id)?;
        if entry.add.seq != seq {
            self.segments.entry(seq).or_default().ended.insert(entry.add.seq);
        }
        self.unpin_all(&entry);
        Some(entry)
    }

    /// Segments before `head` that can be deleted now. Segments that must stay until these are gone become free after
    /// [`Index::drop_segment`].
    pub(in crate::store) fn take_free(&mut self, head: Option<Seq>) -> Vec<Seq> {
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

    /// The next segment to compact, once the journal holds more than twice what is needed plus `slack` bytes: the one
    /// with the smallest needed share; or the oldest, when all are well filled, since others may depend on it.
    pub(in crate::store) fn victim(&self, head: Option<Seq>, slack: u64, not: &BTreeSet<Seq>) -> Option<Seq> {
        let (size, needed) = self.segments.values().fold((0, 0), |(size, needed), usage| {
            (size + usage.size, needed + usage.needed())
        });
        if size <= 2 * needed + slack {
            return None;
        }
        let movable =
            |(seq, usage): &(&Seq, &Use)| usage.pins > 0 && Some(**seq) != head && !not.contains(seq);
        let all = || self.segments.iter().filter(movable);
        let emptiest = all().min_by_key(|(_, usage)| usage.needed() * 1000 / usage.size.max(1));
        let half_empty = emptiest.filter(|(_, usage)| 2 * usage.needed() < usage.size);
        half_empty.or_else(|| all().next()).map(|(seq, _)| *seq)
    }

    /// Whether anything in the segment is still needed.
    pub(in crate::store) fn is_pinned(&self, seq: Seq) -> bool {
        self.segments.get(&seq).is_some_and(|usage| usage.pins > 0)
    }

    fn pin_add(&mut self, seq: Seq, weight: u32) {
        let usage = self.segments.entry(seq).or_default();
        usage.pins += 1;
        usage.live += u64::from(weight);
    }

    fn pin_small(&mut self, seq: Seq) {
        let usage = self.segments.entry(seq).or_default();
        usage.pins += 1;
        usage.small_pins += 1;
    }

    fn unpin_small(&mut self, place: Option<Place>) {
        if let Some(usage) = place.and_then(|place| self.segments.get_mut(&place.seq)) {
            usage.pins = usage.pins.saturating_sub(1);
            usage.small_pins = usage.small_pins.saturating_sub(1);
            self.changed |= usage.pins == 0;
        }
    }

    fn unpin_all(&mut self, entry: &Entry) {
        if let Some(usage) = self.segments.get_mut(&entry.add.seq) {
            usage.pins = usage.pins.saturating_sub(1);
            usage.live = usage.live.saturating_sub(u64::from(entry.weight));
            self.changed |= usage.pins == 0;
        }
        self.unpin_small(entry.state);
        self.unpin_small(entry.mark);
        self.unpin_small(entry.route);
    }
}

/// The share of a frame of `length` bytes that each of its `messages` has.
pub(in crate::store) fn weight(length: u64, messages: usize) -> u32 {
    let share = length / (messages.max(1) as u64);
    u32::try_from(share).unwrap_or(u32::MAX)
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
        assert!(size_of::<(MessageId, Kept)>() <= 48);
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
        assert!(!index.route(id(9), place(3, 64)));
        assert!(index.finish(id(9), Seq::MIN).is_none());
    }

    #[test]
    fn a_route_keeps_its_segment_until_it_is_replaced() {
        let mut index = Index::default();
        let six = Seq::new(6);
        index.add(id(1), place(1, 32), 0, 0);
        assert!(index.route(id(1), place(2, 32)));
        assert!(index.state(id(1), place(3, 32)));
        assert!(index.take_free(six).is_empty());
        assert!(index.route(id(1), place(4, 32)));
        assert_eq!(index.take_free(six), [Seq::new(2).unwrap()]);
        index.drop_segment(Seq::new(2).unwrap());
        index.relocate(id(1), place(5, 32), 0, 0);
        assert_eq!(index.get(id(1)).unwrap().route, None);
        let free: Vec<u32> = index.take_free(six).into_iter().map(Seq::get).collect();
        assert_eq!(free, [1, 3, 4]);
    }
}
