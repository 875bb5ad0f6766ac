//! Whose turn it is: those with the fewest permits come first, and among equals the one that has waited longest.

use std::collections::BTreeSet;

/// A place among those that wait: the permits that it has, and the number of its turn.
pub(super) type Place = (usize, u64);

/// See the module. Each that waits keeps its own place.
#[derive(Debug)]
pub(super) struct Turns<K> {
    order: BTreeSet<(usize, u64, K)>,
    last: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        let order = BTreeSet::new();
        Self { order, last: 0 }
    }
}

impl<K: Ord + Copy> Turns<K> {
    /// Moves `key` from its `place` to that of one with so many permits. It keeps its turn; `permits`: `None` when it does not wait.
    pub(super) fn set(&mut self, key: K, place: &mut Option<Place>, permits: Option<usize>) {
        if place.map(|(permits, _)| permits) == permits {
            return;
        }
        let turn = place.take().map(|(permits, turn)| {
            self.order.remove(&(permits, turn, key));
            turn
        });
        *place = permits.map(|permits| {
            let turn = turn.unwrap_or_else(|| {
                self.last += 1;
                self.last
            });
            self.order.insert((permits, turn, key));
            (permits, turn)
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Those that wait, in order, each with its permits.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, K)> {
        self.order.iter().map(|(permits, _, key)| (*permits, *key))
    }
}
