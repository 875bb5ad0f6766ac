//! Counts, compared with what is counted.

use super::phase::{Counted, Phase};
use super::{Entry, Queue};
use crate::engine::World;

impl<W: World> Queue<W> {
    /// Checks that every count is that of the entries. Not `exactly`: messages that are being added may be counted without being there.
    pub(in crate::engine) fn check(&self, exactly: bool) {
        let mut sums = [0; 3];
        for slot in &self.destinations {
            let id = slot.id;
            let own = || self.entries.values().filter(move |entry| entry.destination == id);
            let count = |counted| {
                own()
                    .filter(|entry: &&Entry| entry.phase.counted() == counted)
                    .count()
            };
            let there = [Counted::InLine, Counted::Ahead, Counted::Running].map(count);
            let counts = [slot.counts.in_line, slot.counts.ahead, slot.counts.running];
            let armed = own()
                .filter(|entry| matches!(entry.phase, Phase::Armed(..)))
                .count();
            assert_eq!(slot.armed.len(), armed, "armed at {:?}", slot.next_hops);
            let at_least = counts.iter().zip(&there).all(|(count, there)| count >= there);
            assert!(
                at_least && slot.messages >= own().count(),
                "{counts:?}, not {there:?}"
            );
            if exactly {
                assert_eq!(counts, there, "counted at {:?}", slot.next_hops);
                assert_eq!(slot.messages, own().count(), "messages at {:?}", slot.next_hops);
            }
            let is_listed = self.by_hops.get(&slot.next_hops) == Some(&id);
            assert!(is_listed || (slot.messages == 0 && slot.permits.is_empty()));
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        assert_eq!(
            sums,
            [self.counts.in_line, self.counts.ahead, self.counts.running]
        );
        let in_line = |entry: &Entry| entry.phase.counted() == Counted::InLine;
        assert_eq!(
            self.entries.values().filter(|entry| in_line(entry)).count(),
            self.counts.in_line
        );
    }
}
