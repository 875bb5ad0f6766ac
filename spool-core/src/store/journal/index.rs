//! The index: where the latest records of every live message are, and which segments are still needed.
//!
//! A segment is needed while it holds the add, or the latest state, mark or route of a live message; and while it
//! records the end of a message whose add is in an older segment that is still on disk. No input or output.

use super::ids::Ids;
use crate::id::MessageId;
use crate::store::change::{Change, Outcome};
use crate::store::journal::frame::Place;
use crate::store::layout::Seq;
use std::collections::hash_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Where the records of a live message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) kept: Kept,
    /// The route, if it was changed since the add.
    pub(in crate::store) route: Option<Place>,
}

/// The part of an [`Entry`] that is stored for every live message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Kept {
    pub(in crate::store) add: Place,
    /// Which of the add's messages it is.
    pub(in crate::store) section: u32,
    /// Its share of the add's frame, in bytes.
    weight: u32,
    pub(in crate::store) state: Option<Place>,
    /// A mark newer than the state.
    pub(in crate::store) mark: Option<Place>,
}

impl Entry {
    /// A message of the add at `add`, as it was added.
    pub(in crate::store) const fn added(add: Place, section: u32) -> Self {
        let (state, mark, route) = (None, None, None);
        let kept = Kept {
            add,
            section,
            weight: 0,
            state,
            mark,
        };
        Self { kept, route }
    }
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
    pub(in crate::store) changed: bool,
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
        self.messages.get(&id).map(|kept| self.entry(id, *kept))
    }

    fn entry(&self, id: MessageId, kept: Kept) -> Entry {
        let route = self.routes.get(&id).copied();
        Entry { kept, route }
    }

    /// Every live message.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = (MessageId, Entry)> {
        self.messages
            .iter()
            .map(|(id, kept)| (*id, self.entry(*id, *kept)))
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

    /// `change` is in a frame of `length` bytes at `place`.
    pub(in crate::store) fn apply(&mut self, change: &Change, place: Place, length: u64) {
        let usage = self.segments.entry(place.seq).or_default();
        usage.size += length;
        if matches!(
            change,
            Change::Mark { .. } | Change::State { .. } | Change::Route { .. }
        ) {
            usage.smalls += 1;
            usage.small_size += length;
        }
        match change {
            Change::Add(addition) | Change::Move(addition) => {
                let weight = weight(length, addition.messages.len());
                for (section, message) in (0..).zip(&addition.messages) {
                    if matches!(change, Change::Move(_)) {
                        self.relocate(message.id, place, section, weight);
                    } else {
                        self.add(message.id, place, section, weight);
                    }
                }
                match &addition.conclusion {
                    None => {}
                    Some(concluded) if matches!(concluded.outcome, Outcome::State(_)) => {
                        self.state(concluded.id, place);
                    }
                    Some(concluded) => self.finish(concluded.id, place.seq),
                }
            }
            Change::Mark { id, .. } => self.mark(*id, place),
            Change::State { id, .. } => self.state(*id, place),
            Change::Route { id, .. } => self.route(*id, place),
            Change::Finish { id, .. } => self.finish(*id, place.seq),
            Change::Note { .. } => {}
        }
    }

    /// Adds a message, unless the id is taken.
    fn add(&mut self, id: MessageId, add: Place, section: u32, weight: u32) {
        let Vacant(free) = self.messages.entry(id) else {
            return;
        };
        let kept = Entry::added(add, section).kept;
        free.insert(Kept { weight, ..kept });
        let usage = self.segments.entry(add.seq).or_default();
        usage.pins += 1;
        usage.live += u64::from(weight);
    }

    /// A message was moved with its state; an unknown message is added. While its old add is on disk, the new segment must
    /// stay: it stands for the records that the old add lacks.
    fn relocate(&mut self, id: MessageId, add: Place, section: u32, weight: u32) {
        self.finish(id, add.seq);
        self.add(id, add, section, weight);
    }

    /// A new mark, unless the id is unknown.
    fn mark(&mut self, id: MessageId, place: Place) {
        if let Some(kept) = self.messages.get_mut(&id) {
            let old = kept.mark.replace(place);
            self.pin_small(place.seq, [old]);
        }
    }

    /// A new state, which replaces earlier marks, unless the id is unknown.
    fn state(&mut self, id: MessageId, place: Place) {
        if let Some(kept) = self.messages.get_mut(&id) {
            let old = [kept.state.replace(place), kept.mark.take()];
            self.pin_small(place.seq, old);
        }
    }

    /// A new route, unless the id is unknown.
    fn route(&mut self, id: MessageId, place: Place) {
        if self.messages.contains_key(&id) {
            let old = self.routes.insert(id, place);
            self.pin_small(place.seq, [old]);
        }
    }

    /// A message ended, as recorded in segment `seq`.
    fn finish(&mut self, id: MessageId, seq: Seq) {
        let Some(entry) = self.get(id) else { return };
        self.messages.remove(&id);
        self.routes.remove(&id);
        if entry.kept.add.seq != seq {
            self.segments
                .entry(seq)
                .or_default()
                .ended
                .insert(entry.kept.add.seq);
        }
        if let Some(usage) = self.segments.get_mut(&entry.kept.add.seq) {
            usage.pins = usage.pins.saturating_sub(1);
            usage.live = usage.live.saturating_sub(u64::from(entry.kept.weight));
            self.changed |= usage.pins == 0;
        }
        for place in [entry.kept.state, entry.kept.mark, entry.route] {
            self.unpin_small(place);
        }
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

    /// A state, a mark or a route in segment `seq` replaces those at the places `old`.
    fn pin_small<const N: usize>(&mut self, seq: Seq, old: [Option<Place>; N]) {
        let usage = self.segments.entry(seq).or_default();
        usage.pins += 1;
        usage.small_pins += 1;
        old.into_iter().for_each(|place| self.unpin_small(place));
    }

    fn unpin_small(&mut self, place: Option<Place>) {
        if let Some(usage) = place.and_then(|place| self.segments.get_mut(&place.seq)) {
            usage.pins = usage.pins.saturating_sub(1);
            usage.small_pins = usage.small_pins.saturating_sub(1);
            self.changed |= usage.pins == 0;
        }
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
        index.mark(id(1), place(2, 32));
        assert!(index.take_free(four).is_empty());
        index.state(id(1), place(3, 32));
        assert_eq!(index.take_free(four), [Seq::new(2).unwrap()]);
        index.drop_segment(Seq::new(2).unwrap());
        let pins = |index: &Index| -> Vec<u64> { index.segments.values().map(|usage| usage.pins).collect() };
        let before = pins(&index);
        index.state(id(9), place(3, 64));
        index.mark(id(9), place(3, 64));
        index.route(id(9), place(3, 64));
        index.finish(id(9), Seq::MIN);
        assert_eq!((pins(&index), index.get(id(9))), (before, None));
    }

    #[test]
    fn a_route_keeps_its_segment_until_it_is_replaced() {
        let mut index = Index::default();
        let six = Seq::new(6);
        index.add(id(1), place(1, 32), 0, 0);
        index.route(id(1), place(2, 32));
        index.state(id(1), place(3, 32));
        assert!(index.take_free(six).is_empty());
        index.route(id(1), place(4, 32));
        assert_eq!(index.take_free(six), [Seq::new(2).unwrap()]);
        index.drop_segment(Seq::new(2).unwrap());
        index.relocate(id(1), place(5, 32), 0, 0);
        assert_eq!(index.get(id(1)).unwrap().route, None);
        let free: Vec<u32> = index.take_free(six).into_iter().map(Seq::get).collect();
        assert_eq!(free, [1, 3, 4]);
    }
}
